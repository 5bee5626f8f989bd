"""Make pairs out of photos, each of which gives A and B: what ``edges``, ``colorization`` and ``inpainting`` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.data.files.listing import get_stem
from pix2pix_lightning.prepare.jobs import Job, check_input_folder, list_files, plan_pairs
from pix2pix_lightning.prepare.pictures import (
    Image,
    Size,
    check_size,
    join_strip,
    read_photo,
    resize_picture,
    to_rgb,
)
from pix2pix_lightning.prepare.run_jobs import Pair
from pix2pix_lightning.prepare.settings import collect_settings
from pix2pix_lightning.prepare.write_pairs import get_output, write_pairs
from pix2pix_lightning.utils.checks import check_choice

if TYPE_CHECKING:
    from omegaconf import DictConfig

LAYOUTS = ("strip", "folders")
MakeSource = Callable[[Image, str], Image]


@dataclass(frozen=True)
class PairPhoto:
    """Make A of a photo, and take the photo as B.

    Args:
        make_source: Makes A, (H, W, 1) or (H, W, 3), of the photo (H, W, 3) and the pair's name.
        layout: ``strip``, or ``folders`` for a picture of each.
        size: Height and width, to which the photo is resized first, or None.
    """

    make_source: MakeSource
    layout: str
    size: Size | None

    def __call__(self, job: Job) -> Pair:
        """Return the pictures of a job.

        Raises:
            UserError: The file cannot be used.
            OSError: The file cannot be read.
        """
        photo, is_transparent = read_photo(job.inputs[0])
        photo = to_rgb(resize_picture(photo, self.size))
        source = self.make_source(photo, job.name)
        pictures = [join_strip(source, photo)] if self.layout == "strip" else [source, photo]
        return Pair(pictures, is_transparent)


def pair_photos(cfg: DictConfig, make_source: MakeSource, further: Mapping[str, Any] | None = None) -> None:
    """Make pairs out of the photos of a folder.

    Args:
        cfg: The configuration of a task.
        make_source: Makes A of a photo (H, W, 3) and the pair's name; it is sent to other processes.
        further: Further plain data that the pictures depend on.

    Raises:
        UserError: There is no such folder, a value is wrong, or nothing could be written.
        FileExistsError: The output exists.
    """
    output = get_output(cfg)
    check_choice("layout", cfg.layout, LAYOUTS)
    convert = PairPhoto(make_source, cfg.layout, check_size(cfg.size))
    folder = check_input_folder(cfg.input, output, "photos")
    files, skipped = list_files(folder, output)
    inputs = [(get_stem(file), (folder / file,)) for file in files]
    plan = plan_pairs(inputs, output, cfg.layout, cfg.suffix, skipped)
    write_pairs(cfg, plan, convert, {**collect_settings(cfg), **(further or {})})
