"""The layers of ARCHITECTURE.md, and that the doors open quickly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pix2pix_lightning

PACKAGE = Path(pix2pix_lightning.__file__).parent
DOORS = {"benchmark", "demo", "evaluate", "export", "predict", "prepare", "report", "train"}
EVERYTHING = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

# Who may import whom, inside the package.
MAY_IMPORT = {
    "__init__": EVERYTHING,  # for type checkers alone: names are loaded on first use
    "config": set(),
    "checkpoints": {"whole_file"},
    "whole_file": set(),
    "same_run": {"config"},
    "networks": set(),
    "losses": set(),
    "metrics": set(),
    "schedules": set(),
    "images": {"whole_file"},
    "randomness": set(),
    "csv_file": set(),
    "loggers": {"csv_file", "whole_file"},
    "data": {"images", "randomness"},
    "module": {
        "__init__",
        "checkpoints",
        "config",
        "distributed",
        "going_on",
        "images",
        "losses",
        "metrics",
        "networks",
        "parts",
        "pretrained",
        "randomness",
        "recorded_step",
        "speed",
    },
    "going_on": {"checkpoints", "config", "images"},
    "recorded_step": set(),
    "speed": {"config", "networks"},
    "speed_choice": {"config", "data", "launch"},
    "distributed": set(),
    "launch": set(),
    "background": set(),
    "parts": {"config"},
    "pretrained": {"__init__", "checkpoints", "config", "going_on", "images", "whole_file"},
    "first_weights": {"checkpoints", "config", "interop", "module", "pretrained"},
    "inference": {
        "checkpoints",
        "config",
        "images",
        "interop",
        "module",
        "networks",
        "pretrained",
        "speed_choice",
    },
    "exporting": {
        "__init__",
        "checkpoints",
        "config",
        "csv_file",
        "drawing",
        "evaluation",
        "images",
        "inference",
        "interop",
        "module",
        "networks",
        "pretrained",
        "reports",
        "whole_file",
    },
    "drawing": {"checkpoints", "data", "images", "inference", "mistakes"},
    "evaluation": {"__init__", "checkpoints", "config", "images", "inference", "metrics"},
    "reports": {"checkpoints", "csv_file", "evaluation", "images", "inference", "whole_file"},
    "interop": {"checkpoints", "config", "networks"},
    "callbacks": {"background", "checkpoint_io", "checkpoints", "images", "inference", "loggers", "module", "reports"},
    "benchmarks": {
        "__init__",
        "assembly",
        "config",
        "data",
        "distributed",
        "exporting",
        "images",
        "inference",
        "module",
        "networks",
        "recorded_step",
        "speed",
        "speed_choice",
    },
    "assembly": {"checkpoint_io", "config", "distributed", "first_weights", "loggers", "speed", "speed_choice"},
    "checkpoint_io": {"background", "checkpoints"},
    "lock": set(),
    "log_file": set(),
    "door": {"command_line", "config", "mistakes", "sweep_jobs"},
    "command_line": {"config"},
    "sweep_jobs": {"command_line", "config", "launch", "mistakes"},
    "mistakes": {"config"},
    "runs": {"__init__", "checkpoints", "launch", "lock", "log_file", "same_run", "whole_file"},
    **dict.fromkeys(DOORS, EVERYTHING - DOORS),
}
TORCH_ONLY = {"networks": {"torch"}, "losses": {"torch"}, "schedules": {"torch"}, "metrics": {"torch", "torchmetrics"}}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(module, name) of each import, and whether it runs when the file is imported."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    checking = {
        id(node)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
        for node in ast.walk(i)
    }
    for node in ast.walk(tree):
        at_import = id(node) not in inner and id(node) not in checking
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, at_import
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                yield node.module, alias.name, at_import


def rooms_imported(path):
    for module, name, _ in imports(path):
        parts = (module or "").split(".")
        if parts[0] != "pix2pix_lightning":
            continue
        room = parts[1] if len(parts) > 1 else name if name in EVERYTHING else "__init__"
        if room != room_of(path):
            yield room


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_keep_to_the_layers(path):
    assert room_of(path) in MAY_IMPORT, "a room that ARCHITECTURE.md does not know"
    assert set(rooms_imported(path)) <= MAY_IMPORT[room_of(path)]


def test_there_are_no_circles():
    graph = {room: set() for room in EVERYTHING - {"__init__"}}
    for path in FILES:
        if room_of(path) != "__init__":
            graph[room_of(path)] |= set(rooms_imported(path)) - {"__init__"}
    done: set[str] = set()
    while graph:
        free = {room for room, needs in graph.items() if needs <= done}
        assert free, f"a circle among {graph}"
        done |= free
        graph = {room: needs for room, needs in graph.items() if room not in free}


@pytest.mark.parametrize("room", sorted(TORCH_ONLY))
def test_networks_and_losses_need_torch_alone(room):
    files = [path for path in FILES if room_of(path) == room]
    assert files
    for path in files:
        packages = {module.split(".")[0] for module, _, _ in imports(path)}
        assert packages <= TORCH_ONLY[room] | {"pix2pix_lightning"} | sys.stdlib_module_names, path


def test_albumentations_is_known_to_one_file():
    users = [path.name for path in FILES if any(m.startswith("albumentations") for m, _, _ in imports(path))]
    assert users == ["transforms.py"]


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_door_is_short(door):
    assert len((PACKAGE / f"{door}.py").read_text().splitlines()) < 80


def test_importing_the_package_and_the_doors_loads_nothing_heavy():
    doors = "".join(f"import pix2pix_lightning.{door};" for door in sorted(DOORS))
    heavy = "{'torch', 'lightning', 'hydra', 'numpy', 'cv2', 'albumentations', 'torchmetrics', 'wandb'}"
    code = f"import sys; import pix2pix_lightning; {doors} print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_help_answers_without_torch_and_names_the_groups():
    code = (
        "import sys; from pix2pix_lightning.train import main; status = main(['--help']);"
        "print(status, sorted({'torch', 'lightning', 'albumentations'} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("0 []\n")
    assert "generator: encoder_decoder, encoder_decoder_256, resnet_6" in out


def test_public_names_are_loaded_on_first_use():
    for name in pix2pix_lightning.__all__:
        assert getattr(pix2pix_lightning, name).__name__ == name
    assert sorted(pix2pix_lightning.__all__) == pix2pix_lightning.__all__
    with pytest.raises(AttributeError, match="Pix3Pix"):
        pix2pix_lightning.Pix3Pix  # noqa: B018
