"""Measure a model on a split."""

from pix2pix_lightning.evaluation.bootstrap import Interval, bootstrap
from pix2pix_lightning.evaluation.data import (
    check_output,
    count_pairs,
    describe_data,
    find_run,
    list_names,
    open_data,
    read_pair_spec,
)
from pix2pix_lightning.evaluation.diversity import DiversityJudge
from pix2pix_lightning.evaluation.division import Division
from pix2pix_lightning.evaluation.flicker import add_flicker, check_clip, check_frame
from pix2pix_lightning.evaluation.judges import Judge, build_judges, warn_of_trained_network
from pix2pix_lightning.evaluation.measures import choose_metrics, use_features
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
from pix2pix_lightning.evaluation.semantic import SemanticJudge, take_semantic

__all__ = [
    "METRICS_FILE",
    "DiversityJudge",
    "Division",
    "Interval",
    "Judge",
    "PairWriter",
    "Scores",
    "SemanticJudge",
    "TranslatedPair",
    "add_flicker",
    "bootstrap",
    "build_judges",
    "check_clip",
    "check_frame",
    "check_output",
    "choose_metrics",
    "collect_facts",
    "compute_scores",
    "count_pairs",
    "describe_data",
    "find_run",
    "format_summary",
    "list_names",
    "open_data",
    "open_output_folder",
    "read_pair_spec",
    "resolve_output",
    "take_semantic",
    "use_features",
    "warn_of_trained_network",
    "write_csv",
    "write_json",
]
