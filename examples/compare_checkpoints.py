"""Compare the best and the last checkpoint of runs by how their outputs look: KID and perceptual distance.

    python examples/compare_checkpoints.py <run folder> ... [--split val] [--metrics l1 perceptual kid]

Evaluates `best.ckpt`, which `saving.monitor` chose, and `last.ckpt`, with trained and, where the run has them, with EMA
weights, and marks the one that commands take by default. Prints a table with 95 % intervals. Results are kept in
`<run folder>/evaluation/compared/`, and what is there of the same checkpoint is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.choice import resolve_weights
from pix2pix_lightning.checkpoints.files import BEST, LAST, find_checkpoint, read_batches_seen
from pix2pix_lightning.evaluate import evaluate


def main() -> None:
    """Evaluate what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--metrics", nargs="+", default=["l1", "perceptual", "kid"])
    parser.add_argument("--words", nargs="*", default=[], help="further words of evaluate, such as data.root=<folder>")
    arguments = parser.parse_args()
    rows = [["run", "checkpoint", "batches", *arguments.metrics], ["---"] * (3 + len(arguments.metrics))]
    for run in arguments.runs:
        rows += compare(run, arguments.split, arguments.metrics, arguments.words)
    print("\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))


def compare(run: Path, split: str, metrics: Sequence[str], words: Sequence[str] = ()) -> Iterator[list[str]]:
    """Yield a row for each checkpoint and kind of weights of a run.

    Args:
        run: Folder of the run.
        split: ``val`` or ``test``.
        metrics: Names of metrics.
        words: Further words of ``evaluate``.
    """
    default = find_checkpoint(run)
    for path in (run / BEST, run / LAST):
        if not path.is_file():
            continue
        for weights in dict.fromkeys(("trained", resolve_weights(path, "auto"))):
            results = measure(run, path, weights, split, metrics, words)
            is_default = path == default and weights == resolve_weights(path, "auto")
            name = f"{path.stem}, {'EMA' if weights == 'ema' else weights}{' (default)' if is_default else ''}"
            yield [
                str(run),
                name,
                str(results["batches_seen"]),
                *map(format_figure, (results["metrics"][m] for m in metrics)),
            ]


def measure(
    run: Path, path: Path, weights: str, split: str, metrics: Sequence[str], words: Sequence[str]
) -> dict[str, Any]:
    """Evaluate a checkpoint, unless it is done, and return what ``metrics.json`` holds."""
    output = run / "evaluation/compared" / "_".join([split, path.stem, weights, *sorted(words)]).replace("/", "-")
    written = output / "metrics.json"
    known = json.loads(written.read_text()) if written.is_file() else {}
    if known.get("batches_seen") != read_batches_seen(path) or not set(metrics) <= set(known["metrics"]):
        settings = [f"checkpoint={path}", f"weights={weights}", f"split={split}", f"metrics=[{','.join(metrics)}]"]
        evaluate(compose("evaluate", [*settings, f"output={output}", "overwrite=true", *words]))
    results: dict[str, Any] = json.loads(written.read_text())
    return results


def format_figure(figure: dict[str, float | None]) -> str:
    """Format a value with its interval, if it has one."""
    mean, low, high = (figure[key] for key in ("mean", "low", "high"))
    return f"{mean:.4f}" if low is None else f"{mean:.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
