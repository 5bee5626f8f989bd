"""The page that a model has on the Hub: what it is and how to use it, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningModule

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, is_description

_LICENSE, _NAME = r"[a-z0-9][a-z0-9.-]*", r"[\w.-]+/[\w.-]+"  # as they are on the Hub
_NO_LICENSE = "It is to be chosen by who publishes the weights: `license: ...` in the front matter of this file."
_PAPER = "https://arxiv.org/abs/1611.07004"


class Card(NamedTuple):
    """A model's page.

    Attributes:
        text: Of ``README.md``.
        pictures: (H, W, 3) uint8 by their place in the model's folder, to which the text refers.
    """

    text: str
    pictures: Mapping[str, npt.NDArray[np.uint8]] = {}


def own_card(module: LightningModule, name: str | None = None) -> Card:
    """What a module knows of itself, which is called ``name`` on the Hub."""
    return Card(card_text(module, name=name))


def card_text(
    module: LightningModule,
    sections: Mapping[str, str] | None = None,
    *,
    data: str | None = None,
    pictures: Iterable[str] = (),
    name: str | None = None,
    license: str | None = None,
) -> str:
    """Front matter that the Hub reads, what the model is, how it is used, and further sections.

    Args:
        module: ``Pix2PixModule``.
        sections: Markdown by its title.
        data: What it was trained on, as a name that everybody knows.
        pictures: Where in the model's folder there are validation pairs, input, output and target side by side.
        name: ``user/name`` on the Hub, for the commands.
        license: By the Hub's name for it; None says that it is to be chosen.

    Raises:
        ValueError: ``name`` or ``license`` can be none.
    """
    if name is not None and not re.fullmatch(_NAME, name):
        raise UserError(f"name={name!r}: user/name is expected, as it is to be called on the Hub")
    if license is not None and not re.fullmatch(_LICENSE, license):
        raise UserError(f"license={license!r}: the Hub's name of one is expected, such as apache-2.0 or cc-by-nc-4.0")
    spec = module.hparams["pair_spec"]
    what, size = f"{_images(spec['source'])} to {_images(spec['target'])}", spec["size"]
    by_title = {
        "Use": _usage(name or "user/name"),
        "Networks": table(["part", "what it is"], _networks(module)),
        **(sections or {}),
        "Licence": f"{code(license)}." if license else _NO_LICENSE,
    }
    parts = [
        _front_matter(license),
        f"# pix2pix{f' on {data}' if data else ''}: {what}",
        f"A generator that translates {what}, trained as [pix2pix]({_PAPER}) by pix2pix_lightning on squares of "
        f"{size}x{size} pixels. Images of other sizes are padded and cropped. Of other things than those it was "
        "trained on it makes something that looks like them: what it draws is no evidence of what is there.",
        *(f"![Input, output and target of a validation pair]({place})" for place in pictures),
        *(f"## {title}\n\n{text}" for title, text in by_title.items()),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already, each in one line."""
    body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(header), ["---"] * len(header), *body])


def code(value: Any) -> str:
    """Any value as code in one line, in which nothing is markup."""
    text = one_line(value) or "-"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def one_line(value: Any) -> str:
    """Any value without line ends and marks that cannot be seen."""
    text = str(value).encode(errors="replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def described(part: Any) -> str:
    """A description as its class and what that was given, without places on a machine."""
    if not is_description(part):
        return "an object of the training program"
    arguments = " ".join(f"{key}={_shown(value)}" for key, value in part.items() if key != TARGET)
    name = code(str(part[TARGET]).rpartition(".")[2])
    return f"{name} {code(arguments)}" if arguments else name


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return "<path>" if isinstance(value, str) and re.search(r"[/\\~]", value) else value


def _front_matter(license: str | None) -> str:
    lines = [
        "library_name: pix2pix-lightning",
        "pipeline_tag: image-to-image",
        "tags:",
        *(f"- {tag}" for tag in ("pix2pix", "pix2pix-lightning", "image-to-image", "gan")),
    ]
    return "\n".join(["---", *([f"license: {license}"] if license else []), *lines, "---"])


def _usage(name: str) -> str:
    return f"""```python
from pix2pix_lightning import Pix2PixModule, Translator

translate = Translator(Pix2PixModule.from_pretrained("{name}"))
translate("photo.png")  # or an array, a tensor, a PIL image: the same kind of thing comes back
```

or, with the files in a folder:

```
pip install "pix2pix-lightning[hub]"
hf download {name} --local-dir model
python -m pix2pix_lightning.predict checkpoint=model input=photos output=translated
```"""


def _networks(module: LightningModule) -> list[list[str]]:
    hparams = module.hparams
    weights = " ".join(f"{key}={value:g}" for key, value in hparams["weights"].items())
    rows = [["generator", _network(module, "generator")], ["discriminator", _network(module, "discriminator")]]
    rows += [["adversarial loss", described(hparams["adversarial"])]] if module.discriminator is not None else []
    rows += [[f"loss {code(name)}", described(loss)] for name, loss in hparams["reconstruction"].items()]
    return [*rows, ["weights of the losses", code(weights)], ["batches seen", code(module.batches_seen)]]


def _network(module: LightningModule, name: str) -> str:
    network = getattr(module, name)
    if network is None:
        return "none: plain regression"
    count = sum(parameter.numel() for parameter in network.parameters())
    return f"{described(module.hparams[name])}, {count:,} parameters"


def _images(side: Mapping[str, Any]) -> str:
    if side["kind"] == "label":
        return f"label maps of {len(side['palette'] or ()) or side['num_classes']} classes"
    return "grayscale images" if side["kind"] in ("grayscale", "grey") else "colour images"
