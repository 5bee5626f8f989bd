"""Measure the import of all that a training needs, of several versions of the source in turn.

    python examples/measure_imports.py --source before/src --source after/src --rounds 10

Each process runs the command ``train`` until the run's folder would be made: everything is imported by then, as the
command imports it. Printed are medians of CPU seconds, until then and of the whole process; and of torch with Lightning
alone.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys

TRAIN = """
import sys, time
from pix2pix_lightning import train
def stop(*arguments):
    import pix2pix_lightning.training.build
    print(time.process_time())
    sys.exit(0)
import pix2pix_lightning.cli.main
train.train = stop
train.main(["experiment=quickstart"])
"""
ALONE = "import time, lightning.pytorch; print(time.process_time())"


def measure(code: str, source: str | None) -> tuple[float, float]:
    """Return the CPU seconds that a process needs to import, and all that it uses."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": source} if source else {})}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(process.stdout.split()[-1]), total


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", action="append", required=True, help="a folder src of a checkout")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    contenders = {source: (TRAIN, source) for source in arguments.source} | {"torch, Lightning": (ALONE, None)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(arguments.rounds + 1):
        for name, contender in contenders.items():
            measured = measure(*contender)
            if number:  # the first round writes the bytecode
                seconds[name].append(measured)
    for name, values in seconds.items():
        until, total = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{until:6.2f} s until all is imported, {total:6.2f} s in all: {name}")


if __name__ == "__main__":
    main()
