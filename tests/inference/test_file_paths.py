"""Input images and the paths of their outputs."""

import re
import shutil
from pathlib import Path

import pytest

from pix2pix_lightning.inference.file_paths import (
    check_apart,
    check_inputs_stay,
    find_images,
    list_suffixes,
    plan_outputs,
)
from pix2pix_lightning.utils.errors import UserError


@pytest.fixture
def tree(tmp_path):
    """Images in subfolders, and files that are skipped."""
    root = tmp_path / "photos"
    for name in (
        *("a.png", "b.JPG", "notes.txt", ".hidden.png"),
        *("paris/a.png", "paris/left bank/c.webp", ".cache/d.png", "rome/notes.txt"),
        *("@eaDir/a.png", "paris/__MACOSX/a.png", "paris/._a.png"),  # of Synology and macOS
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def list_names(found):
    return {str(relative) for relative in found.values()}


def test_folder_is_searched_recursively(tree):
    found = find_images(str(tree), excluded=tree.parent / "out")
    assert list_names(found) == {"a.png", "b.JPG", "paris/a.png", "paris/left bank/c.webp"}
    assert list(found) == sorted(found)
    assert all(path == tree / relative for path, relative in found.items())


def test_outputs_inside_the_folder_are_skipped(tree):
    (tree / "paris/out").mkdir()
    (tree / "paris/out/a.png").write_bytes(b"")
    for source in (str(tree), f"{tree}/**/*.png"):
        assert "paris/out/a.png" not in list_names(find_images(source, excluded=tree / "paris/out"))
        assert "paris/out/a.png" in list_names(find_images(source, excluded=tree / "other"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", {"a.png"}),
        ("**/*.png", {"a.png", "paris/a.png"}),
        ("paris/**", {"a.png", "left bank/c.webp"}),
        ("p?ris/[ab].*", {"paris/a.png"}),
    ],
)
def test_patterns_keep_the_structure_below_their_fixed_part(tree, pattern, expected):
    assert list_names(find_images(f"{tree}/{pattern}", excluded=Path("out"))) == expected


def test_file_whose_name_looks_like_a_pattern(tree):
    odd = tree / "a[1].png"
    odd.write_bytes(b"")
    assert find_images(str(odd), excluded=Path("out")) == {odd: Path("a[1].png")}
    assert find_images(
        str(tree / "notes.txt"), excluded=Path("out")
    )  # a file that is named is tried whatever its suffix


@pytest.mark.parametrize("source", ["none", "rome", "*.gif"])
def test_nothing_to_translate(tree, source):
    with pytest.raises(ValueError, match=re.escape(source)):
        find_images(str(tree / source), excluded=Path("out"))


def test_outputs_repeat_the_inputs_folders():
    inputs = {Path("in/a.b.png"): Path("a.b.png"), Path("in/x/c.jpg"): Path("x/c.jpg")}
    assert plan_outputs(inputs, Path("out"), dict.fromkeys(inputs, (".png",))) == {
        Path("in/a.b.png"): [Path("out/a.b.png")],
        Path("in/x/c.jpg"): [Path("out/x/c.png")],
    }
    samples = plan_outputs(inputs, Path("out"), dict.fromkeys(inputs, list_suffixes(2, spread=True)))
    expected = ["c.sample_0.png", "c.sample_1.png", "c.spread.png"]
    assert samples[Path("in/x/c.jpg")] == [Path("out/x", name) for name in expected]


@pytest.mark.parametrize(("one", "other"), [("a.png", "a.jpg"), ("a.png", "A.JPG"), ("x/a.png", "x/a.webp")])
def test_two_inputs_with_one_output(one, other):
    inputs = {Path("in", name): Path(name) for name in (one, other)}
    with pytest.raises(ValueError, match=rf"{one}.*{other}"):
        plan_outputs(inputs, Path("out"), dict.fromkeys(inputs, (".png",)))


def test_suffixes_of_samples():
    inputs = {Path("a.png"): Path("a.png"), Path("a.sample_0.png"): Path("a.sample_0.png")}
    assert plan_outputs(inputs, Path("out"), dict.fromkeys(inputs, list_suffixes(1, spread=False)))
    with pytest.raises(ValueError, match="spread=true"):
        list_suffixes(None, spread=True)
    for samples in (0, "abc", True):
        with pytest.raises(ValueError, match=f"samples={samples}"):
            list_suffixes(samples, spread=False)
    with pytest.raises(ValueError, match="spread=true"):
        list_suffixes(1, spread=True)


def test_outputs_between_the_inputs_have_to_be_asked_for(tree):
    (tree.parent / "link").symlink_to(tree)
    other = tree / ".." / tree.name
    for source in (str(tree), str(tree / "*.png"), str(tree.parent / "link")):
        for output in (tree, tree.parent / "link", other):
            with pytest.raises(UserError, match="overwrite=true"):
                check_apart(source, output)
            check_apart(source, output, overwrite=True)
        check_apart(source, tree / "out")
        check_apart(source, tree.parent / "out")
    check_apart(str(next(path for path in tree.iterdir() if path.is_file())), tree)


def test_no_input_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    one, two = tmp_path / "a/1.png", tmp_path / "a/2.png"
    for path in (one, two):
        path.touch()
    check_inputs_stay({one: [tmp_path / "a/3.png"], two: [tmp_path / "out/1.png"]})
    for target in (one, two, tmp_path / "link/2.png", tmp_path / "link/../a/1.png"):
        with pytest.raises(UserError, match="replace"):
            check_inputs_stay({one: [target], two: []})


@pytest.mark.parametrize("pattern", ["", "/**"])
def test_links_to_folders_are_followed_but_not_in_a_circle(tree, pattern):
    (tree.parent / "oslo").mkdir()
    (tree.parent / "oslo" / "d.png").touch()
    (tree / "linked").symlink_to(tree.parent / "oslo")
    (tree.parent / "oslo" / "back").symlink_to(tree)
    names = {"a.png", "b.JPG", "paris/a.png", "paris/left bank/c.webp"}
    if pattern:  # for which Python follows the circle, too
        shutil.rmtree(tree / "paris")
        names = {"a.png", "b.JPG"}
    assert list_names(find_images(f"{tree}{pattern}", excluded=Path("out"))) == names | {"linked/d.png"}
    if not pattern:
        assert list_names(find_images(str(tree), excluded=tree.parent / "oslo")) == names


def test_images_that_are_not_read_are_named(tree, caplog):
    (tree / "paris" / "x.HEIC").touch()
    find_images(str(tree), excluded=Path("out"))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "1 files that end with .heic" in line


@pytest.mark.parametrize("target", ["gone.png", "x.png"])
def test_a_link_to_nothing_is_an_input(tmp_path, target):
    (tmp_path / "in").mkdir()
    link = tmp_path / "in" / "x.png"
    link.symlink_to(target)
    for source in ("in", "in/*"):
        assert list(find_images(str(tmp_path / source), excluded=tmp_path / "out")) == [link]
    check_inputs_stay({link: [tmp_path / "out" / "x.png"]})
