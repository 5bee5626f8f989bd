"""Write the model card, the page of a model on the Hub, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningModule

from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, is_description

_LICENSE, _NAME = r"[a-z0-9][a-z0-9.-]*", r"[\w.-]+/[\w.-]+"  # the Hub's patterns
_NO_LICENSE = "Whoever publishes the weights must choose one: `license: ...` in the front matter of this file."
_PAPER = "https://arxiv.org/abs/1611.07004"


class Card(NamedTuple):
    """A model card.

    Attributes:
        text: Content of ``README.md``.
        pictures: Pictures that the text shows, (H, W, 3) uint8, by their path in the folder of the model.
    """

    text: str
    pictures: Mapping[str, npt.NDArray[np.uint8]] = {}


def build_card(module: LightningModule, name: str | None = None) -> Card:
    """Build a card from what a module knows of itself, which is called `name` on the Hub."""
    return Card(format_card(module, name=name))


def format_card(
    module: LightningModule,
    sections: Mapping[str, str] | None = None,
    *,
    data: str | None = None,
    pictures: Iterable[str] = (),
    name: str | None = None,
    license: str | None = None,
) -> str:
    """Format a card: front matter for the Hub, what the model is, how to use it, and further sections.

    Args:
        module: A `Pix2PixModule`.
        sections: Further sections, Markdown by title.
        data: Name of a well-known data set that the model was trained on.
        pictures: Paths in the folder of the model, each of a validation pair: input, output and target side by side.
        name: ``user/name`` on the Hub, for the commands in the text.
        license: The Hub's identifier of the licence; None writes that one must be chosen.

    Returns:
        The content of ``README.md``.

    Raises:
        UserError: `name` or `license` is malformed.
    """
    if name is not None and not re.fullmatch(_NAME, name):
        raise UserError(f"name={name!r}: user/name on the Hub is expected")
    if license is not None and not re.fullmatch(_LICENSE, license):
        raise UserError(f"license={license!r}: the Hub's identifier is expected, such as apache-2.0 or cc-by-nc-4.0")
    spec = module.hparams["pair_spec"]
    what = f"{_name_images(spec['source'])} to {_name_images(spec['target'])}"
    by_title = {
        "Use": _format_usage(name or "user/name"),
        "Networks": format_table(["part", "what it is"], _list_networks(module)),
        **(sections or {}),
        "Licence": f"{format_code(license)}." if license else _NO_LICENSE,
    }
    parts = [
        _format_front_matter(license),
        f"# pix2pix{f' on {data}' if data else ''}: {what}",
        f"A generator that translates {what}, trained as [pix2pix]({_PAPER}) by pix2pix_lightning on "
        f"{_name_sizes(spec)}. Images of other sizes are padded and cropped. It turns anything into something that "
        "looks like the images it was trained on: what it draws is no evidence of what is there.",
        *(f"![Input, output and target of a validation pair]({place})" for place in pictures),
        *(f"## {title}\n\n{text}" for title, text in by_title.items()),
    ]
    return "\n\n".join(parts) + "\n"


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table. The cells are Markdown already, each of one line."""
    body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(header), ["---"] * len(header), *body])


def format_code(value: Any) -> str:
    """Format any value as inline code, in which nothing is markup."""
    text = join_lines(value) or "-"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def join_lines(value: Any) -> str:
    """Return any value as text of one line, without invisible characters."""
    text = str(value).encode(errors="replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def format_part(part: Any) -> str:
    """Format the description of a part as its class and arguments, without paths."""
    if not is_description(part):
        return "an object of the training script"
    arguments = " ".join(f"{key}={_hide_paths(value)}" for key, value in part.items() if key != TARGET)
    name = format_code(str(part[TARGET]).rpartition(".")[2])
    return f"{name} {format_code(arguments)}" if arguments else name


def _hide_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide_paths(item) for item in value]
    return "<path>" if isinstance(value, str) and re.search(r"[/\\~]", value) else value


def _format_front_matter(license: str | None) -> str:
    lines = [
        "library_name: pix2pix-lightning",
        "pipeline_tag: image-to-image",
        "tags:",
        *(f"- {tag}" for tag in ("pix2pix", "pix2pix-lightning", "image-to-image", "gan")),
    ]
    return "\n".join(["---", *([f"license: {license}"] if license else []), *lines, "---"])


def _format_usage(name: str) -> str:
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


def _list_networks(module: LightningModule) -> list[list[str]]:
    hparams = module.hparams
    weights = " ".join(f"{key}={value:g}" for key, value in hparams["weights"].items())
    rows = [
        ["generator", _format_network(module, "generator")],
        ["discriminator", _format_network(module, "discriminator")],
    ]
    rows += [["adversarial loss", format_part(hparams["adversarial"])]] if module.discriminator is not None else []
    rows += [[f"loss {format_code(name)}", format_part(loss)] for name, loss in hparams["reconstruction"].items()]
    return [*rows, ["weights of the losses", format_code(weights)], ["batches seen", format_code(module.batches_seen)]]


def _format_network(module: LightningModule, name: str) -> str:
    network = getattr(module, name)
    if network is None:
        return "none: plain regression"
    count = sum(parameter.numel() for parameter in network.parameters())
    return f"{format_part(module.hparams[name])}, {count:,} parameters"


def _name_sizes(spec: Mapping[str, Any]) -> str:
    size, loaded = get_sides(spec["size"]), get_sides(spec.get("load_size") or spec["size"])
    scaled = f"images that are scaled to a width of {loaded[1]} pixels"
    if spec.get("is_whole"):
        return scaled if spec["resize"] == "scale_width" else "whole images of several sizes"
    if (rule := spec.get("resize", "stretch")) != "stretch":
        return f"parts of {size[1]}x{size[0]} pixels of {scaled if rule == 'scale_width' else 'larger images'}"
    return f"{'squares' if size[0] == size[1] else 'images'} of {size[1]}x{size[0]} pixels"


def _name_images(side: Mapping[str, Any]) -> str:
    if side["kind"] == "label":
        return f"label maps of {len(side.get('palette') or ()) or side['num_classes']} classes"
    return "grayscale images" if side["kind"] == "grayscale" else "colour images"
