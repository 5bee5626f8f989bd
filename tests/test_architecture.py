"""The layers of ARCHITECTURE.md, the shape of the package, and that commands answer quickly."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import pix2pix_lightning
from pix2pix_lightning.__main__ import COMMANDS

PACKAGE = Path(pix2pix_lightning.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
UNITS = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}

# What each command, package or file at the root imports, from the bottom up: exactly this.
IMPORTS = {
    "compat": set(),
    "utils": {"compat"},
    "networks": {"compat", "utils"},
    "losses": {"networks", "utils"},
    "metrics": {"networks", "utils"},
    "data": {"utils"},
    "cli": {"compat", "utils"},
    "checkpoints": {"data", "networks", "utils"},
    "models": {"checkpoints", "compat", "data", "losses", "metrics", "networks", "utils"},
    "inference": {"checkpoints", "compat", "data", "models", "networks", "utils"},
    "evaluation": {"checkpoints", "data", "inference", "metrics", "networks", "utils"},
    "report": {"checkpoints", "cli", "compat", "data", "evaluation", "metrics", "utils"},
    "training": {"checkpoints", "compat", "data", "metrics", "models", "networks", "report", "utils"},
    "train": {"cli", "report", "training", "utils"},
    "predict": {"cli", "export", "inference", "utils"},
    "evaluate": {"checkpoints", "cli", "evaluation", "inference", "report", "utils"},
    "download": {"cli", "data", "utils"},
    "prepare": {"checkpoints", "cli", "data", "utils"},
    "demo": {"checkpoints", "cli", "compat", "data", "inference", "utils"},
    "export": {
        "checkpoints",
        "cli",
        "data",
        "demo",
        "evaluation",
        "inference",
        "models",
        "networks",
        "report",
        "utils",
    },
    "benchmark": {"cli", "data", "export", "inference", "losses", "models", "networks", "training", "utils"},
    "__main__": {"cli", "utils"},
    "__init__": {"cli", "data", "inference", "models", "utils"},
}
# Other packages that these may import.
THIRD_PARTY = {"networks": {"torch"}, "losses": {"torch"}, "metrics": {"torch", "torchmetrics"}}


def get_module(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


MODULES = {get_module(path) for path in FILES}


@cache
def find_names(path):
    """The dotted names that a file imports, in functions and under TYPE_CHECKING too, and the attributes it uses."""
    imported, attributes = [], []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module != "pix2pix_lightning", f"{path}: an import of the package's root"
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            attributes.append((getattr(node.value, "id", None), node.attr))
    return imported, attributes


def imports(path):
    return find_names(path)[0]


def own_imports(path):
    """The modules of the package that a file imports."""
    for name in imports(path):
        head, _, rest = name.partition(".")
        if head == "pix2pix_lightning":
            found = rest if rest in MODULES else rest.rpartition(".")[0]
            assert found in MODULES, f"{path}: no module of the package is called {name}"
            yield found


def get_unit(module):
    return module.partition(".")[0]


def find_circle(graph):
    """The nodes that cannot be put in an order; none where there is no circle."""
    left = {node: set(needs) for node, needs in graph.items()}
    while free := {node for node, needs in left.items() if not needs & left.keys()}:
        left = {node: needs for node, needs in left.items() if node not in free}
    return left


def test_the_root_has_nine_commands_and_eleven_packages():
    files = {"train", "predict", "evaluate", "download"}
    assert set(COMMANDS) == files | {"export", "demo", "report", "prepare", "benchmark"}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name not in ("__pycache__", "conf")}
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert len(folders - set(COMMANDS)) == 11
    assert len(folders) + len(files) <= 24
    assert files - {f"{command}.py" for command in COMMANDS} == {"__init__.py", "__main__.py", "compat.py", "py.typed"}
    assert folders & set(COMMANDS) == {command for command in COMMANDS if (PACKAGE / command / "__main__.py").is_file()}


def test_imports_are_those_of_the_layers():
    found = {unit: set() for unit in UNITS}
    for path in FILES:
        own = get_unit(get_module(path))
        found[own] |= {get_unit(module) for module in own_imports(path)} - {own}
    assert found == IMPORTS
    assert not find_circle(IMPORTS)


def test_modules_import_each_other_without_circles():
    graph = {get_module(path): set(own_imports(path)) - {get_module(path)} for path in FILES}
    assert not find_circle(graph)


def test_models_know_of_the_data_what_a_pixel_means_alone():
    files = [path for path in FILES if get_unit(get_module(path)) == "models"]
    assert {module for path in files for module in own_imports(path) if get_unit(module) == "data"} == {
        "data.pair_spec",
        "data.sides",
    }


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_networks_losses_and_metrics_need_torch_alone(package):
    allowed = THIRD_PARTY[package] | {"pix2pix_lightning"} | sys.stdlib_module_names
    for path in FILES:
        if get_unit(get_module(path)) == package:
            assert {name.partition(".")[0] for name in imports(path)} <= allowed, path


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name not in ("_asdict", "_replace")  # of named tuples


def test_private_names_of_others_are_used_in_compat_alone():
    found = set()
    for path in FILES:
        imported, attributes = find_names(path)
        named = [name for name in imported if any(map(is_private, name.split(".")))]
        named += [name for owner, name in attributes if is_private(name) and owner not in ("self", "cls")]
        found |= {get_module(path)} if named else set()
    assert found == {"compat"}


def test_albumentations_is_known_to_one_file():
    users = [get_module(path) for path in FILES if any(name.startswith("albumentations") for name in imports(path))]
    assert users == ["data.transforms"]


def test_importing_the_package_and_its_commands_loads_nothing_heavy():
    modules = [
        f"pix2pix_lightning.{name}" + (".__main__" if (PACKAGE / name).is_dir() else "") for name in sorted(COMMANDS)
    ]
    heavy = "{'torch', 'lightning', 'hydra', 'numpy', 'cv2', 'albumentations', 'torchmetrics', 'wandb', 'jinja2'}"
    code = (
        f"import sys, {', '.join(modules)}; print(sorted({heavy} & sys.modules.keys()));"
        "from pix2pix_lightning.train import main; status = main(['--help']);"
        f"print(status, sorted({heavy} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("[]\n")
    assert out.endswith("0 []\n")
    assert "generator=unet_256" in out


def test_public_names_are_loaded_on_first_use():
    for name in set(pix2pix_lightning.__all__) - {"__version__"}:
        assert getattr(pix2pix_lightning, name).__name__ == name
    with pytest.raises(AttributeError, match="Pix3Pix"):
        pix2pix_lightning.Pix3Pix  # noqa: B018


def test_every_command_is_listed_and_answers(capsys):
    from pix2pix_lightning.__main__ import main

    assert main([]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)
    assert main(["gallop"]) == 2
    for words in (["--version"], ["train", "--version"]):
        assert main(words) == 0
        assert pix2pix_lightning.__version__ in capsys.readouterr().out
    assert main(["prepare", "task=nothing", "input=x"]) == 1
    assert capsys.readouterr().err.startswith("error: task=nothing")
