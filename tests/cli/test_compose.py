"""compose() from Python is the command line's own."""

import shutil

import hydra
import pytest
from hydra.errors import HydraException

from pix2pix_lightning import compose
from pix2pix_lightning.cli.conf import compose_files, find_conf_dir
from pix2pix_lightning.cli.overrides import quote_path
from pix2pix_lightning.compat import parse_overrides
from pix2pix_lightning.utils.errors import UserError

PATHS = [
    "/data/my pairs (1)",
    "a=b, c",
    "it's",
    "[x] {y}: z",
    "C:\\data\\new",
    "C:\\data\\",
    "a\\'b",
    "\\\\host\\share\\",
]


@pytest.mark.parametrize("path", PATHS)
def test_any_path_is_read_as_it_is_typed(path):
    (override,) = parse_overrides([quote_path(f"data.root={path}")])
    assert override.value() == path


def test_compose_takes_paths_as_commands_do(tmp_path):
    folder = tmp_path / "my pairs, 50 % (1)"
    cfg = compose("train", ["data=folder", f"data.root={folder}", "data.size=64", "name='a b'"])
    assert (cfg.data.root, cfg.data.size, cfg.name) == (str(folder), 64, "a b")
    assert str(folder) in cfg.command


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["data.size=large"], "data.size=large"),
        (["experiment=facades", "module.generator=7"], "module.generator=7"),
        (["generator=null"], "generator=null"),
    ],
)
def test_values_of_another_type_are_refused_as_by_commands(words, named):
    with pytest.raises(UserError, match=named):
        compose("train", words)


def test_a_size_is_a_side_or_height_and_width():
    cfg = compose("train", ["data=folder", "data.size=[256,512]", "data.crop=128"])
    assert (list(cfg.data.size), cfg.data.crop) == ([256, 512], 128)


def test_a_key_may_be_left_out():
    assert "jitter" not in compose("train", ["~data.jitter"]).data


def test_the_users_files_count_for_types(tmp_path):
    (tmp_path / "generator").mkdir()
    for value in (3, "text"):  # not as they were before
        text = f"# @package module.generator\n_target_: torch.nn.Identity\nown: {value}\n"
        (tmp_path / "generator/mine.yaml").write_text(text)
        words = ["generator=mine", "module.generator.own=x"]
        if value == 3:
            with pytest.raises(UserError, match="own=x"):
                compose("train", words, config_dir=tmp_path)
        else:
            assert compose("train", words, config_dir=tmp_path).module.generator.own == "x"


@pytest.mark.parametrize(
    "words",
    [
        ["data=facades", "data.size=32", "+module.optimizer_g.fused=true", "~callbacks.progress"],
        ["data={size: 32}", "callbacks=[default,ema]", "++trainer.x=3", "hydra.job.num=3"],
        ["optimizer/network@module.optimizer_g=rmsprop", "module.optimizer_d.lr=1e-3", "~schedule"],
    ],
)
def test_files_and_keys_are_composed_as_by_hydra_at_once(words):
    with hydra.initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        expected = hydra.compose("train", words)
    first, _ = compose_files("train", words)
    assert first == expected
    first.data.size = 7  # is nobody else's
    assert compose_files("train", words)[0] == expected


@pytest.mark.parametrize("word", ["data.sise=3", "+data.size=3", "~data.sise", "data.size=1,2", "a@b=c", "data=nix"])
def test_what_hydra_refuses_is_refused(word):
    with pytest.raises(HydraException):
        compose_files("train", [word])


def test_a_file_that_was_changed_is_read_anew(tmp_path, monkeypatch):
    shutil.copytree(find_conf_dir(), tmp_path / "conf")
    monkeypatch.setattr("pix2pix_lightning.cli.conf.find_conf_dir", lambda: tmp_path / "conf")
    assert compose_files("predict")[0].mode == "deterministic"
    path = tmp_path / "conf/predict.yaml"
    path.write_text(path.read_text().replace("mode: deterministic", "mode: paper"))
    assert compose_files("predict")[0].mode == "paper"
