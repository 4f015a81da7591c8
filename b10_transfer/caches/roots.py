"""The cache roots of this host, and which of them an artifact belongs to."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from b10_transfer.caches.folders import VARIABLES
from b10_transfer.caches.kinds import FULL_HEADERS, ROOT_KINDS, RootKind, user_kind
from b10_transfer.paths import is_below

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ROOT_NAMES = tuple(kind.name for kind in ROOT_KINDS)
_ROOT_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class CacheRoot:
    """A cache root of this host.

    Attributes:
        kind: its row of the table.
        folder: where it lies, an absolute path.
        outer: the kinds of the roots that it lies in, and where in them, as a path that ends in a
            slash, or "". Files that their rules take are theirs.
        apart: the folders of the other roots, and of the store: no link is followed there.
        is_strict: whether what others could write is not used.
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

    def takes(self, path: str, *, is_pure: bool = False) -> bool:
        """Return whether a file is an artifact of this root.

        Args:
            path: below the root.
            is_pure: whether nothing foreign lies in the root; see `RootKind.unknown`.
        """
        takes = self.kind.may_take if is_pure else self.kind.takes
        return takes(path) and not any(kind.takes(prefix + path) for kind, prefix in self.outer)


def is_root_name(text: str) -> bool:
    """Return whether a user may call a cache root so."""
    return _ROOT_NAME.fullmatch(text) is not None


def resolve_roots(
    variables: Mapping[str, str],
    chosen: Mapping[str, str] | None = None,
    *,
    full_headers: bool = False,
    unresolved: list[str] | None = None,
) -> tuple[CacheRoot, ...]:
    """The cache roots of this host, whether they exist or not.

    Args:
        variables: the environment variables of the process that compiles.
        chosen: names of roots; with each its folder, or "" for the one that its compiler uses. A
            name that the table does not have is a root of the user's. By default the table.
        full_headers: whether precompiled headers are artifacts too, and not their text alone.
        unresolved: takes a line for each root whose folder cannot be found out; it is left out.

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
    return error.strerror or str(error)  # no folder for temporary files


def without_refused(roots: Sequence[CacheRoot], refused: Collection[str]) -> tuple[CacheRoot, ...]:
    """Return the roots without some, by name; files in those are left to the roots in them."""
    kept = [root for root in roots if root.name not in refused]
    return tuple(
        replace(root, outer=tuple(item for item in root.outer if item[0].name not in refused))
        for root in kept
    )


def with_store(
    roots: Sequence[CacheRoot], store: str, *, is_strict: bool = False
) -> tuple[CacheRoot, ...]:
    """Return cache roots that know what is not theirs: the store, each other, what others write."""
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
    """The roots around the one at `place`; of two with one folder, the first is around the other.

    A compiler that keeps the caches of others in a folder of its own, as vLLM and SGLang do, tells
    them so within its own process. So an artifact belongs to the outermost root that takes it: a
    process beside the server, which knows the server's folder alone, finds the same artifacts.
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
