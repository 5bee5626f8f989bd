"""Measure a model on a split."""

from pix2pix_lightning.evaluation.bootstrap import Interval, bootstrap
from pix2pix_lightning.evaluation.data import check_output, describe_data, find_run, open_data, read_pair_spec
from pix2pix_lightning.evaluation.measures import choose_metrics
from pix2pix_lightning.evaluation.results import (
    METRICS_FILE,
    PairWriter,
    collect_facts,
    format_summary,
    open_output_folder,
    resolve_output,
    write_csv,
    write_json,
)
from pix2pix_lightning.evaluation.scores import Scores, TranslatedPair, compute_scores

__all__ = [
    "METRICS_FILE",
    "Interval",
    "PairWriter",
    "Scores",
    "TranslatedPair",
    "bootstrap",
    "check_output",
    "choose_metrics",
    "collect_facts",
    "compute_scores",
    "describe_data",
    "find_run",
    "format_summary",
    "open_data",
    "open_output_folder",
    "read_pair_spec",
    "resolve_output",
    "write_csv",
    "write_json",
]
