"""The cache roots of this host, and to which of them an artifact belongs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from b10_transfer.caches.folders import VARIABLES
from b10_transfer.caches.kinds import FULL_HEADERS, ROOT_KINDS, RootKind, user_kind
from b10_transfer.caches.takers import Taker
from b10_transfer.paths import is_below

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

ROOT_NAMES = tuple(kind.name for kind in ROOT_KINDS)
_ROOT_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class CacheRoot:
    """A cache root of this host.

    Attributes:
        kind: its row of the table.
        folder: its absolute path.
        outer: the kinds of the roots around it, each with its place in them, as a path that ends in
            a slash, or "". Files that their rules accept belong to them.
        apart: the folders of the other roots and of the store; no link into them is followed.
        is_strict: whether files that others could write are not used.
    """

    kind: RootKind
    folder: str
    outer: tuple[tuple[RootKind, str], ...] = ()
    apart: tuple[str, ...] = ()
    is_strict: bool = False

    @property
    def name(self) -> str:
        """The kind's name."""
        return self.kind.name

    def taker(self, *, is_pure: bool = False) -> Callable[[str], bool]:
        """Return what decides whether a file is an artifact of this root, by its path in it.

        Args:
            is_pure: whether nothing foreign is in the root; see `RootKind.unknown`.
        """
        takes = Taker(self.kind, is_pure=is_pure).takes
        outer = [(Taker(kind).takes, prefix) for kind, prefix in self.outer]
        if not outer:
            return takes
        return lambda path: (
            takes(path) and not any(others(prefix + path) for others, prefix in outer)
        )

    def takes(self, path: str) -> bool:
        """Return whether a file is an artifact of this root, by its path in it."""
        return self.taker()(path)


def is_root_name(text: str) -> bool:
    """Return whether a user may give a cache root this name."""
    return _ROOT_NAME.fullmatch(text) is not None


def resolve_roots(
    variables: Mapping[str, str],
    chosen: Mapping[str, str] | None = None,
    *,
    full_headers: bool = False,
    unresolved: list[str] | None = None,
) -> tuple[CacheRoot, ...]:
    """Return the cache roots of this host, whether or not they exist.

    Args:
        variables: the environment variables of the process that compiles.
        chosen: the folder of each root, by name; "" for the folder that its compiler uses. A name
            that is not in the table is a root of the user. By default the whole table.
        full_headers: whether precompiled headers are artifacts, and not only their texts.
        unresolved: receives a line for each root that is left out because its folder is unknown.

    Raises:
        OSError: the folder of a root cannot be found out, and there is no `unresolved`.
    """
    rows = {kind.name: kind for kind in ROOT_KINDS}
    if full_headers:
        rows[FULL_HEADERS.name] = FULL_HEADERS
    roots: list[CacheRoot] = []
    for name, folder in (dict.fromkeys(ROOT_NAMES, "") if chosen is None else chosen).items():
        kind = rows.get(name) or user_kind(name, folder)
        try:
            roots.append(CacheRoot(kind, folder or kind.resolve(variables)))
        except OSError as error:
            if unresolved is None:
                raise
            unresolved.append(
                f"the cache root {name} cannot be found, and is left out: {_unfound(name, error)}"
            )
    return tuple(
        replace(root, outer=_outer_roots(place, roots)) for place, root in enumerate(roots)
    )


def _unfound(name: str, error: OSError) -> str:
    try:
        os.getcwd()
    except OSError:
        variable = VARIABLES[name][0]
        return (
            f"it is relative to a working folder that is gone; set {variable} to an absolute path"
        )
    return error.strerror or str(error)  # there is no folder for temporary files


def without_refused(roots: Sequence[CacheRoot], refused: Collection[str]) -> tuple[CacheRoot, ...]:
    """Return the roots without the named ones, whose files are left to the roots inside."""
    kept = [root for root in roots if root.name not in refused]
    return tuple(
        replace(root, outer=tuple(item for item in root.outer if item[0].name not in refused))
        for root in kept
    )


def with_store(
    roots: Sequence[CacheRoot], store: str, *, is_strict: bool = False
) -> tuple[CacheRoot, ...]:
    """Return cache roots that know what they must not use: the store, each other, others' files."""
    folders = [root.folder for root in roots]
    return tuple(
        replace(
            root,
            apart=(store, *(item for item in folders if item != root.folder)),
            is_strict=is_strict,
        )
        for root in roots
    )


def _outer_roots(place: int, roots: Sequence[CacheRoot]) -> tuple[tuple[RootKind, str], ...]:
    """Return the roots around the one at `place`; the first of two equal folders is the outer.

    A server that keeps the caches of compilers in its own folder, as vLLM and SGLang do, tells them
    so only within its own process. So an artifact belongs to the outermost root that accepts it: a
    process beside the server, which knows only the server's folder, finds the same artifacts.
    """
    own = roots[place].folder
    return tuple(
        (other.kind, _prefix_below(other.folder, own))
        for index, other in enumerate(roots)
        if index != place and is_below(own, other.folder) and (own != other.folder or index < place)
    )


def _prefix_below(outer: str, folder: str) -> str:
    relative = os.path.relpath(folder, outer)
    return "" if relative == os.curdir else relative.replace(os.sep, "/") + "/"
