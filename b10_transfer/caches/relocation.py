"""The canonical form of the few files that hold absolute paths.

Triton records the files of a compiled kernel in `__grp__<name>.json`, as `{"child_paths": {name:
absolute path}}`, and looks for them only there (triton/runtime/cache.py,
FileCacheManager.get_group). After a folder was moved, every kernel in it is a miss; if the old
folder still exists, its files are read instead. So a group is stored without its folder, and each
load adds the right one. Nothing else in an Inductor or Triton cache needs this.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from b10_transfer.foreign_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP_PREFIX = "__grp__"
_FOLDER = "[b10-transfer:folder]/"
_MOST_CHILDREN = 1024
"""The limit for the files of a kernel, which has about ten; each adds the folder's length when a
group is restored."""


def is_group(path: str) -> bool:
    """Return whether the artifact at `path` is the list of files of a Triton kernel."""
    name = path.rpartition("/")[2]
    return name.startswith(GROUP_PREFIX) and name.endswith(".json")


def group_children(data: bytes) -> list[str]:
    """Return the names of a group's files, which lie in the group's own folder.

    Raises:
        ValueError: these are not the bytes of a group.
    """
    children: list[str] = []
    parsed = _parse(data)
    if len(parsed) > _MOST_CHILDREN:
        raise ValueError(f"a group of {len(parsed)} files")
    for name, path in parsed.items():
        if not isinstance(path, str) or path.replace("\\", "/").rpartition("/")[2] != name:
            raise ValueError(f"{name!r} is not at a path of that name")
        children.append(name)
    return children


def canonical_group(data: bytes) -> bytes:
    """Return the bytes of a group without its folder, equal for equal kernels everywhere.

    Raises:
        ValueError: these are not the bytes of a group.
    """
    return _encode(_FOLDER, group_children(data))


def restore_group(data: bytes, folder: str) -> bytes:
    """Return the bytes of a group whose files lie in `folder`.

    Raises:
        ValueError: these are not the canonical bytes of a group.
    """
    return group_at(folder, group_children(data))


def group_at(folder: str, children: Iterable[str]) -> bytes:
    """Return the bytes of a group whose files, with these names, lie in `folder`."""
    return _encode(folder + "/", children)


def _encode(prefix: str, children: Iterable[str]) -> bytes:
    paths = {name: prefix + name for name in sorted(children)}
    return json.dumps({"child_paths": paths}).encode()


def _parse(data: bytes) -> dict[str, object]:
    fields = parse_object(data)
    children = fields.get("child_paths")
    if len(fields) != 1 or not isinstance(children, dict):
        raise ValueError("other JSON than child_paths alone")
    return cast("dict[str, object]", children)
