import numpy as np
import pytest
import torch
from PIL import Image

from pix2pix_lightning import Pix2PixModule, Translator
from pix2pix_lightning.inference.grouping import group_items
from pix2pix_lightning.inference.translate_files import translate_files
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET


def save_noise(folder, sizes):
    folder.mkdir()
    for number, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return {path: [folder.parent / "out" / path.name] for path in sorted(folder.iterdir())}


def build_translator(**options):
    torch.manual_seed(0)
    return Translator(Pix2PixModule(UNET, None), **options)


def test_groups_are_full_or_the_oldest_and_nothing_is_lost():
    items = [(number, number % 3, 4) for number in range(30)]
    groups = list(group_items(items))
    assert sorted(number for group in groups for number in group) == list(range(30))
    assert all(len({number % 3 for number in group}) == 1 for group in groups)
    assert max(map(len, groups)) <= 4
    waiting = [max(group) - min(group) for group in groups]
    assert max(waiting) <= 3 * 8  # few wait
    many = list(group_items((number, number, 4) for number in range(20)))
    assert many == [[number] for number in range(20)]


@pytest.mark.parametrize("resize", [None, 32])
def test_files_of_one_size_share_a_batch_and_get_their_own_output(tmp_path, monkeypatch, resize):
    outputs = save_noise(tmp_path / "in", [(40, 24)] * 5 + [(16, 8), (40, 24)] * 2)
    translator = build_translator(resize=resize)
    expected = {path: translator(path) for path in outputs}
    sizes = []
    run = translator.network.__class__.__call__
    monkeypatch.setattr(
        translator.network.__class__, "__call__", lambda self, x, **keys: sizes.append(len(x)) or run(self, x, **keys)
    )
    written = list(translate_files(translator, outputs))
    assert sorted(written) == sorted(paths[0] for paths in outputs.values())
    assert sorted(sizes) == ([2, 7] if resize is None else [9])
    for path, (output,) in outputs.items():
        found = np.asarray(Image.open(output)).astype(int)
        assert np.abs(found - expected[path]).max() <= 1


def test_a_bad_file_of_a_batch_fails_alone(tmp_path, monkeypatch):
    outputs = save_noise(tmp_path / "in", [(16, 16)] * 6)
    translator, failed = build_translator(), []
    bad = Image.open(tmp_path / "in" / "03.png").getpixel((0, 0))
    translate = translator.translate_arrays

    def refuse(images):
        if any(tuple(image[0, 0]) == bad for image in images):
            raise UserError("too ugly")
        return translate(images)

    monkeypatch.setattr(translator, "translate_arrays", refuse)
    written = list(translate_files(translator, outputs, on_error=lambda source, error: failed.append(source.name)))
    assert failed == ["03.png"]
    assert sorted(path.name for path in written) == ["00.png", "01.png", "02.png", "04.png", "05.png"]


def test_samples_of_a_batch_are_those_of_each_image(tmp_path):
    inputs = save_noise(tmp_path / "in", [(16, 16)] * 3)
    outputs = {path: [tmp_path / "out" / f"{path.stem}.{name}.png" for name in ("0", "1", "spread")] for path in inputs}
    translator = build_translator(mode="paper")
    list(translate_files(translator, outputs, samples=2))
    for path, paths in outputs.items():
        drawn = []
        for translator.sample in range(2):
            drawn.append(translator(path).astype(int))
        found = [np.asarray(Image.open(output)).astype(int) for output in paths]
        assert np.abs(found[0] - drawn[0]).max() <= 1
        assert np.abs(found[1] - drawn[1]).max() <= 1
        spread = np.stack(drawn).std(0).mean(2) / (255 / 8) * 255
        assert np.abs(found[2] - spread.clip(0, 255)).max() <= 8  # of a level of an output
        assert np.abs(drawn[0] - drawn[1]).max() > 3
