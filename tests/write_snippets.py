"""Write each Python example of README.md to a file, for make typecheck: python tests/write_snippets.py <folder>."""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def write_snippets(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.py"):
        path.unlink()
    paths = []
    for number, code in enumerate(re.findall(r"^```py(?:thon)?\n(.*?)^```", README.read_text("utf-8"), re.M | re.S), 1):
        paths.append(folder / f"readme_{number}.py")
        paths[-1].write_text(code, "utf-8")
    return paths


if __name__ == "__main__":
    write_snippets(Path(sys.argv[1]))
