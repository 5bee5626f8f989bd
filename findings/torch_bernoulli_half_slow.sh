#!/usr/bin/env bash
# torch: bernoulli_(0.5) on a CPU takes twice as long as bernoulli_(0.95), and as rand(float64) < 0.5, which draws the same numbers.
#
# Expected: one number is drawn for each element, so that the probability makes no difference.
# Happens: the comparison is a branch, which the processor guesses wrong half of the time for 1/2, the paper's dropout. Dropout of
# 2 million values takes longer than the convolution in front of it in bfloat16.
# Avoid: torch.rand(shape, dtype=torch.float64) < p. Values, and the generator's state afterwards, are those of bernoulli_(p).
# Python 3.11, torch 2.13.0 (CPU, x86-64)
# Seen 2026-11-30: same numbers: True; same state: True; ms for 1/2: 23.0, for 0.95: 9.7, rand: 14.2 (10.2 in a second run)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$tmp/venv/bin/python" - <<'PY'
import sys
import time

import torch

shape = (16, 512, 16, 16)


def measure(draw):
    """Return the fastest of several calls, in milliseconds."""
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        draw()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


torch.manual_seed(0)
drawn = torch.empty(shape).bernoulli_(0.5)
state = torch.get_rng_state()
torch.manual_seed(0)
same = torch.equal(drawn.bool(), torch.rand(shape, dtype=torch.float64) < 0.5)
same_state = torch.equal(torch.get_rng_state(), state)
half = measure(lambda: torch.empty(shape).bernoulli_(0.5))
rare = measure(lambda: torch.empty(shape).bernoulli_(0.95))
rand = measure(lambda: torch.rand(shape, dtype=torch.float64) < 0.5)
print(torch.__version__, f"same numbers: {same}; same state: {same_state}; ms for 1/2: {half:.1f}, for 0.95: {rare:.1f}, rand: {rand:.1f}")
if not (same and same_state and half > 1.5 * rare and half > 1.3 * rand):
    sys.exit("no longer as described")
PY
