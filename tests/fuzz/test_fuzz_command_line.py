"""Words of a command line: a configuration, or one line and status 1 or 2."""

import contextlib
import io
import shlex

import pytest
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.configs import flatten_config

pytestmark = pytest.mark.fuzz

COMMANDS = ["train", "predict", "evaluate", "report", "export", "demo", "download", "prepare", "benchmark"]
KEYS = {
    name: [key for key, _ in flatten_config(OmegaConf.to_container(compose(name), resolve=False))]
    for name in COMMANDS[:2]
}
GROUPS = ["data", "generator", "discriminator", "loss", "experiment", "schedule", "trainer", "speed", "logger", "debug"]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
VALUE = st.one_of(
    st.sampled_from(
        ["", "null", "auto", "1", "-1", "0.5", "1e400", "nan", "true", "[1,2]", "{a:1}", "[", "'", '"', "a b", "${"]
    ),
    st.sampled_from(
        ["${seed}", "${run_dir}", "${oc.env:HOME}", "1,2", "choice(1,2)", "range(1,3)", "unet_128", "default", "x"]
    ),
    st.integers().map(str),
    TEXT,
)
PREFIX = st.sampled_from(["", "", "", "", "+", "++", "~"])
FLAG = st.sampled_from(
    ["-x", "--checkpoint", "--", "-", "--help", "--version", "--cfg", "job", "--info", "word", "~seed"]
)


@st.composite
def any_words(draw):
    """The name of a command and its words; `hydra.*` is left out, which may start or write anything."""
    name = draw(st.sampled_from(sorted(KEYS)))
    key = st.sampled_from([*KEYS[name], *GROUPS]) | TEXT.filter(lambda text: "hydra" not in text)
    word = st.builds(lambda prefix, key, value: f"{prefix}{key}={value}", PREFIX, key, VALUE)
    words = draw(st.lists(st.one_of(word, word, word, word, FLAG, TEXT), min_size=1, max_size=3))
    return name, [word for word in words if not word.startswith(("-m", "--m", "sweep", "hydra"))]


def test_words(search):
    def attempt(drawn):
        name, words = drawn
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run_command(name, lambda cfg: OmegaConf.to_container(cfg, resolve=False), words)
        lines = [line for line in err.getvalue().splitlines() if " is chosen, since " not in line]
        assert status in (0, 1, 2), shlex.join(words)
        if status == 1:
            assert [line.startswith("error: ") for line in lines] == [True], lines
        elif status == 2:
            assert lines
        assert "Traceback" not in err.getvalue()

    search(any_words(), attempt, examples=30)
