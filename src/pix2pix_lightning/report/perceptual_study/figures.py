"""The paper's figure of a perceptual study: how often generated pictures are labelled real, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pix2pix_lightning.report.perceptual_study.answers import Session


class Figure(NamedTuple):
    """Figures of an algorithm; shares are from 0 to 1.

    Attributes:
        algorithm: Its label.
        share: Share of the trials in which the generated picture was labelled real.
        error: Standard error by bootstrapping.
        low: Lower end of the 95 % interval.
        high: Upper end of the interval.
        num_raters: Number of sessions.
        num_trials: Number of trials in all sessions, without the practice.
    """

    algorithm: str
    share: float
    error: float
    low: float
    high: float
    num_raters: int
    num_trials: int


def compute_figures(sessions: Sequence[Session], *, samples: int = 10_000, seed: int = 0) -> list[Figure]:
    """Compute the figures of each algorithm.

    As in the tool of the paper's authors, raters are drawn with replacement, and for each of them as many trials.

    Args:
        sessions: The answers, each session once.
        samples: Number of times that the raters are drawn.
        seed: Seed of the draws, the same for each algorithm.

    Returns:
        The figures by the algorithms' labels.
    """
    groups: dict[str, list[Session]] = {}
    for session in sessions:
        groups.setdefault(session.algorithm, []).append(session)
    return [_compute_figure(label, groups[label], samples, seed) for label in sorted(groups)]


def _compute_figure(algorithm: str, sessions: Sequence[Session], samples: int, seed: int) -> Figure:
    generator = np.random.default_rng(seed)
    trials = np.array([len(session.labelled_real) for session in sessions])
    labelled_real = np.array([sum(session.labelled_real) for session in sessions])
    raters = generator.integers(0, len(sessions), (samples, len(sessions)))
    # trials of a rater that are drawn with replacement have a binomial number of those labelled real
    drawn = generator.binomial(trials[raters], (labelled_real / trials)[raters])
    shares = drawn.sum(1) / trials[raters].sum(1)
    low, high = np.percentile(shares, [2.5, 97.5])
    share = float(labelled_real.sum() / trials.sum())
    return Figure(algorithm, share, float(shares.std()), float(low), float(high), len(sessions), int(trials.sum()))
