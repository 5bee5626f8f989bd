"""The API reference has every public name, and public functions document their arguments."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/pix2pix_lightning"
HOOK = re.compile(r"on_\w+|setup|teardown|save_checkpoint")  # Lightning documents these and their arguments


def read_reference():
    """Return for each documented module or object its options, as the pages in docs/api name them."""
    text = "\n".join(path.read_text() for path in ROOT.glob("docs/api/*.md"))
    directives = re.findall(r"^\.\. auto(?:module|class|function):: (\S+)\n((?:   .*\n)*)", text, re.M)
    return {name: dict(re.findall(r":([\w-]+): ?(.*)", options)) for name, options in directives}


def read_all(path):
    """Return the names in a module's ``__all__``, None if there is none."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def test_every_public_name_is_in_the_reference():
    reference = read_reference()
    shown_by_root = set(read_all(PACKAGE / "__init__.py"))
    packages = [path for path in PACKAGE.rglob("__init__.py") if read_all(path) is not None]
    assert len(packages) > 8
    for path in packages:
        module = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
        assert module in reference, f"{module} has __all__ and is on no page of docs/api"
        options = reference[module]
        hidden = set(re.split(r", ", options.get("exclude-members", ""))) & set(read_all(path))
        if module == "pix2pix_lightning":
            assert "members" in options
            assert hidden == {"__version__"}
        else:
            assert "members" in options or set(read_all(path)) <= shown_by_root
            assert hidden <= shown_by_root


def test_every_page_of_the_reference_is_in_the_table_of_contents():
    listed = set(re.findall(r"^api/(\w+)$", (ROOT / "docs/index.md").read_text(), re.M))
    assert listed == {path.stem for path in ROOT.glob("docs/api/*.md")}
    guides = set(re.findall(r"^(\w+)$", (ROOT / "docs/index.md").read_text(), re.M))
    assert guides == {path.stem for path in ROOT.glob("docs/*.md")} - {"index"}


def find_undocumented(source):
    """Return the public functions and classes of three and more arguments that do not name each of them under Args.

    Nested functions, properties and Lightning's hooks do not count.
    """
    found = []
    for node in ast.parse(source).body:
        functions = [(node, node.name)] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            functions = [(node if m.name == "__init__" else m, f"{node.name}.{m.name}") for m in methods]
            signatures = methods
        else:
            signatures = [function for function, _ in functions]
        for signature, (documented, name) in zip(signatures, functions, strict=True):
            if signature.name != "__init__" and (signature.name.startswith("_") or HOOK.fullmatch(signature.name)):
                continue
            arguments = signature.args
            names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            names = [name for name in names if name not in ("self", "cls")]
            section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", ast.get_docstring(documented) or "", re.M)
            entries = re.findall(r"^    \**(\w+)(?: \(.*\))?:", section[1], re.M) if section else []
            missing = [argument for argument in names if argument not in entries]
            if len(names) >= 3 and missing:
                found.append(f"{name}: {', '.join(missing)}")
    return found


def get_package(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", sorted({get_package(path) for path in PACKAGE.rglob("*.py")}))
def test_arguments_are_documented(package):
    paths = [path for path in PACKAGE.rglob("*.py") if get_package(path) == package]
    found = [f"{path.relative_to(ROOT)}: {line}" for path in paths for line in find_undocumented(path.read_text())]
    assert found == []


def test_undocumented_arguments_are_found():
    source = '''
def f(a, b, c):
    """Do it.

    Args:
        a: One.
        c (int): Three.
    """

def _private(a, b, c): ...

def short(a, b): ...

class C:
    """A class."""
    def __init__(self, x, y, z): ...
    def on_fit_start(self, x, y, z): ...
    def m(self, x, *, y, z): "Do it."
'''
    assert find_undocumented(source) == ["f: b", "C.__init__: x, y, z", "C.m: x, y, z"]
