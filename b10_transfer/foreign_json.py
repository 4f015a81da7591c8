"""JSON from others, which may be malformed."""

from __future__ import annotations

import json
from typing import Any, cast


def parse_json(data: bytes | str) -> object:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        content: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    return content


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or is not an object.
    """
    content = parse_json(data)
    if isinstance(content, dict):
        return cast("dict[str, Any]", content)
    raise ValueError("JSON, but not an object")
