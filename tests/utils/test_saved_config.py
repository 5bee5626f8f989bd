"""Configurations of runs, which may be from elsewhere: values as OmegaConf reads them, limits, and no resolvers."""

import re

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import load_saved_config, read_saved_values


@pytest.fixture
def read(tmp_path):
    def read(content, function=load_saved_config):
        path = tmp_path / "config.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return function(path)

    return read


def test_a_configuration_of_this_project_has_its_values(read):
    cfg = compose("train", ["experiment=facades", "module.optimizer_g.lr=1e-5", "name='1e3'", "about='a: #b'"])
    cfg.run_dir = "/somewhere"
    text = OmegaConf.to_yaml(cfg, resolve=True).replace(" /somewhere/", " ${run_dir}/")
    assert "path: ${run_dir}/metrics.csv" in text
    loaded = read(text)
    assert loaded == cfg
    assert loaded.module.optimizer_g.lr == 0.00001
    assert loaded.name == "1e3"
    loaded.run_dir = "elsewhere"
    assert loaded.logger.csv.path == "elsewhere/metrics.csv"


def test_a_file_that_is_read_again_has_its_own_values(read):
    first = read("a: {b: 1}")
    first.a.b = 2
    assert read("a: {b: 1}").a.b == 1
    assert read("a: {b: 3}").a.b == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1_000", 1000), ("off", False), (".nan", "nan"), ("2001-01-01", "2001-01-01"), ("'7'", "7")],
)
def test_plain_values_are_those_of_omegaconf(read, text, value):
    assert str(read(f"a: {text}").a) == str(value)
    assert str(OmegaConf.create(f"a: {text}").a) == str(value)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a: &a0 [1]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}]\n" for n in range(50))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "empty"),
        ("[1, 2]", "keys"),
        ("1: 2", "keys"),
        ("a: [1", ","),
        ("a: 1\na: 2", "duplicate"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a: \0", "position"),
        ("a: " + "[" * 10_000, "deep"),
        ("a: " + "1" * 10_000, "digits"),
        ("a: b" + " " * 2**20, "bytes"),
        ("a: !!python/object/apply:os.getcwd []", "os.getcwd"),
        ("a: &a [*a]", "alias a"),
        (BOMB, "values"),
        (CHAIN, "deep"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(read, content, named):
    with pytest.raises(UserError, match=rf"config\.yaml is damaged \(.*{named}") as caught:
        read(content)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="damaged"):
        read(content, read_saved_values)


REFERENCES = [
    *("${oc.env:SECRET}", "x ${oc.env:SECRET}", "${oc.env:${b}}", "${.b}", "${a}", "${c}", "${d}", "${none}"),
    *("\\${oc.env:SECRET}", "\\\\${oc.env:SECRET}", "\\\\\\${oc.env:SECRET}", "${ b }", "${oc.select:b}", "${now:%H}"),
]


@pytest.mark.parametrize("text", REFERENCES)
def test_nothing_but_keys_is_resolved(read, monkeypatch, text):
    monkeypatch.setenv("SECRET", "hunter2")
    content = OmegaConf.to_yaml({"b": "SECRET", "c": "${b}", "d": {"b": 1}, "e": [{"a": text}]})
    with pytest.raises(UserError, match=re.escape(f"e.0.a={text}") if text not in ("${a}",) else "a") as caught:
        read(content)
    assert "hunter2" not in str(caught.value)
    assert read(content, read_saved_values)["e"] == [{"a": text}]


def test_references_make_no_text_of_any_length(read):
    content = {"b": "x" * 1000, **{f"a{number}": "${b}" * 100 for number in range(20)}}
    with pytest.raises(UserError, match="references"):
        read(OmegaConf.to_yaml(content))
    content.pop("a0")
    assert len(read(OmegaConf.to_yaml({"b": "x", "a": "${b}" * 100})).a) == 100
