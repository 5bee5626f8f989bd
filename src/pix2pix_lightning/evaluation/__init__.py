"""A translator measured over a split."""

from pix2pix_lightning.evaluation.bootstrap import Interval, bootstrap
from pix2pix_lightning.evaluation.data import described, open_data, pairs_of, run_of
from pix2pix_lightning.evaluation.measures import MEASURES, Measure, chosen
from pix2pix_lightning.evaluation.results import FIGURES, Pictures, facts, new_folder, place, write_csv, write_json
from pix2pix_lightning.evaluation.scores import Scores, Triple, score

__all__ = [
    "FIGURES",
    "MEASURES",
    "Interval",
    "Measure",
    "Pictures",
    "Scores",
    "Triple",
    "bootstrap",
    "chosen",
    "described",
    "facts",
    "new_folder",
    "open_data",
    "pairs_of",
    "place",
    "run_of",
    "score",
    "write_csv",
    "write_json",
]
