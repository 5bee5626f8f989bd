"""The files around the code: they say what is so, and the tools that they name exist."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import pix2pix_lightning

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version_and_names_the_paper():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cff.keys() >= {"cff-version", "message", "title", "authors"}  # what CFF 1.2.0 requires
    assert cff["cff-version"] == "1.2.0"
    assert cff["version"] == pix2pix_lightning.__version__
    assert cff["license"] == PYPROJECT["license"]
    assert cff["authors"] == PYPROJECT["authors"]
    (paper,) = cff["references"]
    assert paper.keys() >= {"type", "title", "authors"}
    assert [author["family-names"] for author in paper["authors"]] == ["Isola", "Zhu", "Zhou", "Efros"]
    assert "1611.07004" in paper["url"]


def test_the_workflow_runs_make_on_all_versions_and_systems():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    rows = jobs["test"]["strategy"]["matrix"]["include"]
    oldest = re.search(r"\d+\.\d+", PYPROJECT["requires-python"])[0]
    assert {row["python"] for row in rows} == {oldest, "3.12", "3.13"}  # 3.10 without quotes would be the number 3.1
    assert {row["versions"] for row in rows} == {"lowest", "pinned", "newest"}
    assert {row["os"].partition("-")[0] for row in rows} == {"ubuntu", "macos", "windows"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"(?m)^{row['command'].split()[1]}:", makefile) for row in rows)
    assert [step["run"] for step in jobs["test"]["steps"] if "run" in step] == ["${{ matrix.command }}"]
    for job in jobs.values():
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in uses)
        (setup,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
        assert all((ROOT / name).is_file() for name in setup["cache-dependency-path"].split())


def test_the_lowest_constraints_are_the_bounds_of_pyproject():
    extras = PYPROJECT["optional-dependencies"]  # test-lowest needs neither docs nor dev
    asked = [*PYPROJECT["dependencies"], *chain.from_iterable(extras[name] for name in extras.keys() - {"docs", "dev"})]
    bounds = dict(re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", entry).groups() for entry in asked if ">=" in entry)
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name in bounds:
        assert f"{pins[name]}.".startswith(f"{bounds[name]}."), name


HOOKS = [
    hook
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repo["hooks"]
    if repo["repo"] == "local"
]


def test_the_hooks_are_the_tools_of_make_test():
    assert {hook["entry"].split()[0] for hook in HOOKS} == {".venv/bin/ruff", ".venv/bin/mypy"}
    assert all(hook.keys() >= {"id", "name", "entry", "language"} for hook in HOOKS)
    assert all(hook["language"] == "system" for hook in HOOKS)
    makefile = (ROOT / "Makefile").read_text()
    for hook in HOOKS:
        command = hook["entry"].replace(".venv/bin", "$(BIN)").replace(" --force-exclude", "")
        assert re.search(re.escape(command), makefile), f"make does not run {hook['entry']}"


@pytest.mark.skipif(not (ROOT / ".venv/bin").is_dir(), reason="the hooks run the tools in .venv/bin, from make setup")
@pytest.mark.parametrize("hook", HOOKS, ids=[hook["id"] for hook in HOOKS])
def test_a_hook_runs_and_finds_what_is_wrong(hook, tmp_path):
    """pre-commit hands over the files that are committed; mypy reads the whole package, so it is only called."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('"""Good."""\n')
    bad.write_text("import os\nx=  1\n")

    def status(*arguments):
        entry = [str(ROOT / hook["entry"].split()[0]), *hook["entry"].split()[1:]]
        config = ["--config", str(ROOT / "pyproject.toml")] if "ruff" in entry[0] else []
        command = [*entry, *config, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    if hook.get("pass_filenames", True):
        assert (status(good), status(bad)) == (0, 1)
    else:
        assert status("--version") == 0


def find_attributes(source):
    """Return the classes of a file as ``Class``, and what they define or assign as ``Class.name``."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            inner = [part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            inner += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
            inner += [part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)]
            names |= {node.name, *(f"{node.name}.{name}" for name in inner)}
    return names


def test_files_and_attributes_that_texts_name_exist():
    sources = list((ROOT / "src").rglob("*.py"))
    attributes = set().union(*map(find_attributes, sources))
    folders = [ROOT / name for name in ("src", "tests", "conf", "docs", "examples")]
    paths = {f"/{path.relative_to(ROOT).as_posix()}" for folder in folders for path in [folder, *folder.rglob("*")]}
    files, missing = 0, []
    for text in [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "docs/using.md", *sources]:
        for span in re.findall(r"`([\w./]+)`", text.read_text("utf-8")):
            if span.endswith(".py") or re.match("(src|tests|conf|docs|examples)/", span):
                files += 1
                exists = any(path.endswith("/" + span.rstrip("/")) for path in paths)
            else:
                exists = span.count(".") != 1 or span.partition(".")[0] not in attributes or span in attributes
            if not exists:
                missing.append((text.name, span))
    assert files > 20
    assert missing == []


def tracked(*patterns):
    """Of a checkout; elsewhere there is nothing that tells what belongs to the project."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    command = ["git", "ls-files", "-z", "--", *patterns]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def linked(text):
    """What a Markdown file points to and shows within the project."""
    prose = re.sub(r"(?ms)^ *(```|~~~).*?^ *\1|`[^`\n]*`", "", text)
    found = re.findall(r"\]\(\s*<?([^)>\s]+)", prose) + re.findall(r"""(?:src|srcset|href)=["']([^"'\s]+)""", prose)
    found += re.findall(r"(?m)^\[[^\]]+\]:\s*<?([^>\s]+)", prose)
    return [unquote(link.partition("#")[0]) for link in found if not re.match(r"[a-z]+:|#|//", link)]


def test_links_of_every_kind_are_found():
    text = """
[a](docs/a.md#part) ![b](b%20c.png "title") [![c](c.png)](d.md) <img src="e.png" width=3> [f]: f.md [g](#part)
[f]: f.md
[h](https://x.y/z.md) [i](mailto:a@b.c) `[j](j.md)`
```
[k](k.md)
```
[l](<l.md>)
"""
    assert sorted(linked(text)) == ["b c.png", "c.png", "d.md", "docs/a.md", "e.png", "f.md", "l.md"]


def test_what_the_project_s_texts_point_to_exists():
    names = tracked("*.md")
    assert "README.md" in names
    links = [(name, (ROOT / name).parent / link) for name in names for link in linked((ROOT / name).read_text("utf-8"))]
    assert len(links) > 5
    missing = [(name, str(path.resolve().relative_to(ROOT))) for name, path in links if not path.exists()]
    assert missing == []


def test_the_sdist_holds_what_the_tests_read(tmp_path):
    files = set(tracked())
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    of_this_place = {name for name in files if name.startswith(".ci/")}
    assert {name for name in files - held - of_this_place if (ROOT / name).exists()} == set()
