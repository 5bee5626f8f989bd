#!/usr/bin/env bash
# torch-fidelity: feature_extractor_internal_dtype="float64" runs the feature extractor in float32.
#
# Expected: the network computes in float64, as the documentation of the option says.
# Happens: the table of types has float32 in the row of float64, so the option is accepted and nothing changes. Features agree
#   with a float64 computation to 1e-6 only, and a comparison of two implementations stops there.
# Avoid: call .double() on the extractor and set its feature_extractor_internal_dtype to torch.float64; results are returned
#   in float32 all the same.
# Python 3.11, torch-fidelity 0.4.0, torch 2.13.0 (CPU)
# Seen 2026-11-29: {'float32': torch.float32, 'float64': torch.float32}
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$tmp/venv/bin/python" -m pip install --quiet --no-deps torch-fidelity==0.4.0
"$tmp/venv/bin/python" - <<'PY'
import sys
import types
from importlib import util
from pathlib import Path

import torch

# a package without its __init__, which imports torchvision
package = types.ModuleType("torch_fidelity")
package.__path__ = [str(Path(util.find_spec("torch_fidelity").origin).parent)]
sys.modules["torch_fidelity"] = package
from torch_fidelity.helpers import text_to_dtype

found = {name: text_to_dtype(name) for name in ("float32", "float64")}
print(found)
if found["float64"] is not torch.float32:
    sys.exit("no longer as described")
PY
