#!/usr/bin/env bash
# rich: a Live display on standard error sends there what is printed to standard output, also where that is a file or a pipe.
#
# Expected: print() within Live(console=Console(stderr=True)) writes to standard output, which is not the terminal.
# Happens: Live replaces sys.stdout too (redirect_stdout=True), and the lines go to the console's file, standard error.
# Avoid: Live(..., redirect_stdout=sys.stdout.isatty()).
# Python 3.11, rich 13.0.0 and 15.0.0
# Seen 2026-11-28: the file of standard output is empty, in both
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 13.0.0 15.0.0; do
  python3 -m venv "$tmp/$version"
  "$tmp/$version/bin/python" -m pip install --quiet "rich==$version"
  "$tmp/$version/bin/python" - >"$tmp/out" 2>"$tmp/err" <<'PY'
from rich.console import Console
from rich.live import Live

with Live("bar", console=Console(stderr=True, force_terminal=True), auto_refresh=False):
    print("for the file")
PY
  echo "rich $version: $(wc -c <"$tmp/out") bytes on standard output, $(grep -c "for the file" "$tmp/err") line on standard error"
  if [ -s "$tmp/out" ] || ! grep -q "for the file" "$tmp/err"; then
    echo "no longer as described" >&2
    exit 1
  fi
done
