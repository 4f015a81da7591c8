"""The relative paths that an artifact may have."""

from __future__ import annotations

import os
import re

from b10_store.errors import LimitError

RECORD_FOLDER = ".b10_transfer"
"""The folder in a cache root that belongs to this host; it holds no artifacts."""

_PLAIN = re.compile(r"[A-Za-z0-9_-][\w.+=@-]*(?:/[A-Za-z0-9_-][\w.+=@-]*)*", re.ASCII)
"""Short paths of harmless characters, with no component that begins with a dot: nearly all."""

_SAME_SEPARATOR = os.sep == "/"
_COMPONENT_LIMIT = 255
_PATH_LIMIT = 4000
DEPTH_LIMIT = 128
"""Creating and moving folders recurses once per level, and Python allows a thousand."""


def check_path(path: str) -> None:
    """Refuse every path that could leave its cache root, or that some host cannot write.

    The same check is made when a manifest is written and when one is read.

    Raises:
        LimitError: the message names the path and the rule.
    """
    if len(path) <= _COMPONENT_LIMIT and _PLAIN.fullmatch(path):
        return
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise LimitError(f"path {path!r}: not valid UTF-8") from None
    if not path or len(encoded) > _PATH_LIMIT:
        raise LimitError(f"path {path[:80]!r}: 1 to {_PATH_LIMIT} bytes expected")
    if "\0" in path or "\\" in path:
        raise LimitError(f"path {path!r}: a NUL or a backslash in it")
    components = path.split("/")
    if len(components) > DEPTH_LIMIT:
        raise LimitError(f"path {path[:80]!r}: more than {DEPTH_LIMIT} components")
    for component in components:
        _check_component(path, component)
    if components[0].casefold() == RECORD_FOLDER:
        raise LimitError(f"path {path!r}: {RECORD_FOLDER} belongs to the host")


def _check_component(path: str, component: str) -> None:
    if component in ("", ".", ".."):
        raise LimitError(f"path {path!r}: {component!r} as a component")
    if len(component.encode()) > _COMPONENT_LIMIT:
        raise LimitError(f"path {path[:80]!r}: a component over {_COMPONENT_LIMIT} bytes")


def local_path(folder: str, path: str) -> str:
    """Return the location on this host of an artifact at `path` below `folder`."""
    return f"{folder}{os.sep}{path if _SAME_SEPARATOR else path.replace('/', os.sep)}"
