"""Scores of class numbers by a confusion matrix in NumPy."""

import numpy as np


def score_classes(preds, target):
    """Pixel accuracy, class accuracy and mean IoU over the classes of the target, as Long et al. define them."""
    confusion = np.zeros((256, 256))
    np.add.at(confusion, (target[target >= 0], preds[target >= 0]), 1)
    hits, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    classes = rows > 0
    union = rows + columns - hits
    return {
        "accuracy": hits.sum() / confusion.sum(),
        "class_accuracy": (hits[classes] / rows[classes]).mean(),
        "iou": (hits[classes] / union[classes]).mean(),
    }
