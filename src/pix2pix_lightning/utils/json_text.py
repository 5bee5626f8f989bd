"""JSON that every reader takes: null stands for NaN and infinity, which JSON does not have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def format_json(value: Any) -> str:
    """Format plain data as indented JSON that ends with a line break, with null for numbers that are not finite."""
    return json.dumps(_replace_nonfinite(value), indent=2, allow_nan=False) + "\n"


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _replace_nonfinite(each) for key, each in value.items()}
    return [_replace_nonfinite(each) for each in value] if isinstance(value, list | tuple) else value
