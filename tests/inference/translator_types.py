"""What mypy knows of a translation: make typecheck reads this file, nothing runs it."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pix2pix_lightning import Translator

translate = Translator("last.ckpt")
array = np.zeros((8, 8, 3), np.uint8)
picture = Image.open("photo.png")

assert_type(translate("photo.png"), NDArray[Any])
assert_type(translate(Path("photo.png")), NDArray[Any])
assert_type(translate(array), NDArray[Any])
assert_type(translate(torch.zeros(3, 8, 8)), torch.Tensor)
assert_type(translate(picture), Image.Image)
assert_type(translate(["a.png", "b.png"]), list[NDArray[Any]])
assert_type(translate([Path("a.png")]), list[NDArray[Any]])
assert_type(translate([array, array]), list[NDArray[Any]])
assert_type(translate([torch.zeros(3, 8, 8)]), list[torch.Tensor])
assert_type(translate([picture]), list[Image.Image])
