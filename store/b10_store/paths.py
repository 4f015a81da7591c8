"""Which relative paths an artifact may have."""

from __future__ import annotations

from b10_store.errors import LimitError

RECORD_FOLDER = ".b10_transfer"
"""The folder below a cache root that belongs to this host alone; never an artifact."""

_COMPONENT_LIMIT = 255
_PATH_LIMIT = 4000


def check_path(path: str) -> None:
    """Refuse every path that could leave its cache root, or that no host could write.

    The same check holds when a manifest is written and when one is read.

    Raises:
        LimitError: the message names the path and the rule.
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise LimitError(f"path {path!r}: not valid UTF-8") from None
    if not path or len(encoded) > _PATH_LIMIT:
        raise LimitError(f"path {path[:80]!r}: 1 to {_PATH_LIMIT} bytes expected")
    if "\0" in path or "\\" in path:
        raise LimitError(f"path {path!r}: a NUL or a backslash in it")
    components = path.split("/")
    for component in components:
        if component in ("", ".", ".."):
            raise LimitError(f"path {path!r}: {component!r} as a component")
        if len(component.encode()) > _COMPONENT_LIMIT:
            raise LimitError(f"path {path[:80]!r}: a component over {_COMPONENT_LIMIT} bytes")
    if components[0].casefold() == RECORD_FOLDER:
        raise LimitError(f"path {path!r}: {RECORD_FOLDER} belongs to the host")
