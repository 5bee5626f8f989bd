"""Semantic score of altered photos: ``python examples/judge_altered_photos.py <segmenter> <folder of facades>``.

An order that people would give: the photos themselves, blurred ones, the mean photo, and photos of other buildings.
"""

import sys
from collections.abc import Callable

import cv2
import torch
from torch import Tensor

from pix2pix_lightning import PairedDataModule, Translator
from pix2pix_lightning.evaluation import Scores, SemanticJudge, TranslatedPair

_SCORES = ("semantic_accuracy", "semantic_class_accuracy", "semantic_iou")


def read_pairs(root: str, side: int) -> tuple[PairedDataModule, list[tuple[Tensor, Tensor]]]:
    """Return the data module, and label picture and photo, (1, 3, H, W) uint8, of each validation pair."""
    data = PairedDataModule(root, size=side, num_workers=0, direction="b_to_a", a={"kind": "rgb"}, b={"kind": "rgb"})
    data.setup("validate")
    batches = list(data.val_dataloader())
    return data, [(batch["source"], batch["target"]) for batch in batches]


def main(segmenter: str, root: str) -> None:
    """Print a row of a Markdown table for each alteration."""
    translator = Translator(segmenter, resize="training")
    data, pairs = read_pairs(root, translator.pair_spec.width)
    photos = [photo for _, photo in pairs]
    mean = torch.stack(photos).float().mean(0).round().to(torch.uint8)
    alterations: dict[str, Callable[[int], Tensor]] = {
        "photos": lambda index: photos[index],
        "noise of 20 levels": lambda index: add_noise(photos[index], index),
        "blur, sigma 1": lambda index: blur(photos[index], 1),
        "blur, sigma 2": lambda index: blur(photos[index], 2),
        "blur, sigma 4": lambda index: blur(photos[index], 4),
        "mean photo": lambda index: mean,
        "photo of the next building": lambda index: photos[(index + 1) % len(photos)],
    }
    print("| photos | accuracy | class accuracy | IoU |\n|---|---|---|---|")
    for name, alter in alterations.items():
        judge = SemanticJudge(translator, data.pair_spec, segmenter)
        for index, (source, photo) in enumerate(pairs):
            judge.add(TranslatedPair(str(index), source, alter(index), photo))
        figures = judge.add_scores(Scores([], {}, {})).figures
        cells = [f"{figures[key].mean:.3f} ({figures[key].low:.3f} to {figures[key].high:.3f})" for key in _SCORES]
        print(" | ".join(["", name, *cells, ""]).strip(), flush=True)


def blur(photo: Tensor, sigma: int) -> Tensor:
    """Return the photo, (1, 3, H, W), after a Gaussian filter."""
    blurred = cv2.GaussianBlur(photo[0].permute(1, 2, 0).numpy(), (0, 0), sigma)
    return torch.from_numpy(blurred).permute(2, 0, 1)[None]


def add_noise(photo: Tensor, seed: int) -> Tensor:
    """Return the photo with Gaussian noise of a standard deviation of 20 levels."""
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(seed))
    return (photo + 20 * noise).round().clamp(0, 255).to(torch.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
