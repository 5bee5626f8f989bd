"""Options files of junyanz: refused with a line, or a command that composes to what it says."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from damage import apply_steps, steps
from hypothesis import strategies as st
from omegaconf import OmegaConf
from refusals import read_or_refuse

from pix2pix_lightning import PairSpec, compose
from pix2pix_lightning.checkpoints.junyanz.options import OLD_NAMES, find_options
from pix2pix_lightning.prepare import junyanz_command
from pix2pix_lightning.prepare.junyanz_command import build_command
from pix2pix_lightning.prepare.junyanz_options import DEFAULTS, read_options

pytestmark = pytest.mark.fuzz

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
NUMBER = st.integers(-3, 1000).map(str) | st.floats(-1, 1000).map(str)
WORDS = [
    *("True", "False", "None", "0", "1", "-1", "0,1", "inf", "nan", "null", "1e9", "AtoB", "BtoA", "none", "crop"),
    *("unet_128", "resnet_6blocks", "pixel", "n_layers", "instance", "syncbatch", "lsgan", "wgangp", "step", "cosine"),
    *("plateau", "scale_width", "resize", "a b", "a=b", "x,y", "[1]", "{a:b}", "it's", "\\", "${seed}", "~", "#", "*"),
]
VALUE = st.sampled_from(WORDS) | NUMBER | TEXT
FLAGS = st.sampled_from([*DEFAULTS, *OLD_NAMES]) | st.from_regex(r"\w{1,8}", fullmatch=True)


@st.composite
def any_file(draw):
    """The text of an options file with some values changed."""
    options = (
        {**DEFAULTS, "dataroot": "/data/facades"} if draw(st.booleans()) else {"model": "pix2pix", "dataroot": "d"}
    )
    options |= draw(st.dictionaries(FLAGS, VALUE, max_size=5))
    form = draw(st.sampled_from(["{:>25}: {:<30}\t[default: x]", "{:>25}: {:<30}", "{}: {}"]))
    text = "\n".join(["----------------- Options ---------------", *(form.format(*item) for item in options.items())])
    return apply_steps(text.encode("utf-8", "replace"), draw(steps()) if draw(st.integers(0, 3)) == 0 else [])


NETWORK = {
    "_target_": "pix2pix_lightning.networks.UNetGenerator",
    **{"in_channels": 3, "out_channels": 3, "num_downs": 8, "base_channels": 64, "norm": "batch", "dropout": 0.5},
}


def test_options_next_to_weights(search):
    def attempt(content):
        Path("train_opt.txt").write_bytes(content)
        options = find_options(Path("latest_net_G.pth"))
        if options is None:
            return
        network = read_or_refuse(lambda: options.complete(NETWORK, Path("latest_net_G.pth")))
        assert network is None or {**network, "dropout": 0.5} == NETWORK
        sizes = read_or_refuse(lambda: (options.size, options.load_size))
        if sizes is not None and sizes[0] is not None:
            PairSpec(size=sizes[0], load_size=sizes[1])
        assert read_or_refuse(lambda: options.direction) in (None, "a_to_b", "b_to_a")

    search(any_file(), attempt, examples=60)


def test_options(search, monkeypatch):
    compose_once = cache(lambda name, words: compose(name, words))
    monkeypatch.setattr(junyanz_command, "compose", lambda name, words: deepcopy(compose_once(name, tuple(words))))

    def attempt(content):
        path = Path("train_opt.txt")
        path.write_bytes(content)
        command = read_or_refuse(lambda: build_command(read_options(path)))
        if command is None:
            return
        assert all("\n" not in note for note in command.notes)
        cfg = compose("train", command.to_overrides())
        for key, value in command.keys.items():
            found = OmegaConf.select(cfg, key.lstrip("+"))
            found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
            if key == "module.schedule":  # merged with what the group has
                assert found.items() >= value.items()
            elif value == value:
                assert found == value, key

    search(any_file(), attempt, examples=30)
