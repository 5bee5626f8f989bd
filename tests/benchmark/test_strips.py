import numpy as np
from hydra.utils import instantiate

from pix2pix_lightning import compose
from pix2pix_lightning.benchmark.strips import use_files
from pix2pix_lightning.data import ProceduralPairs
from pix2pix_lightning.data.files.image_files import read_image


def test_procedural_pairs_are_written_to_files(tmp_path):
    cfg = compose("train", ["data.size=32", "data.batch_size=3", "data.num_workers=0", "speed=off"])
    data = instantiate(use_files(cfg, tmp_path).data, _convert_="all")
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["source"].shape == (3, 3, 32, 32)
    assert len(data.open_split("train")) == 400
    assert data.pair_spec.direction == "b_to_a"  # as composed
    drawn = [
        np.concatenate(pair[:2], 1).astype(int) for pair in map(ProceduralPairs(40, size=32).__getitem__, range(8))
    ]
    for name in ("3", "43"):  # forty pictures, each in several files
        strip = read_image(tmp_path / "strips" / "train" / f"{name}.jpg").astype(int)
        assert strip.shape == (32, 64, 3)
        assert np.argmin([abs(strip - picture).mean() for picture in drawn]) == 3


def test_other_data_is_unchanged(tmp_path):
    cfg = compose("train", ["data=facades", "data.root=somewhere"])
    assert use_files(cfg, tmp_path).data.root == "somewhere"
    assert not list(tmp_path.iterdir())
