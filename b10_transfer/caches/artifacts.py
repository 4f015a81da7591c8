"""Tell which files of a cache root are artifacts, and what is special about some of them."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from b10_store import (
    INCOMPLETE,
    UNITED_LIMIT,
    Bounds,
    Identity,
    LimitError,
    LocalFile,
    Skipped,
    check_path,
    local_path,
    walk,
)
from b10_transfer.caches.exposure import others_can_write
from b10_transfer.caches.file_forms import check_of, is_graph_list
from b10_transfer.caches.foreign import find_foreign
from b10_transfer.caches.forms import FOLDERS_KNOWN
from b10_transfer.caches.integrity import find_incomplete
from b10_transfer.caches.native_needs import join_requirement, united_needs
from b10_transfer.caches.relocation import canonical_group, group_at, group_children, is_group
from b10_transfer.caches.timings import unite_timings
from b10_transfer.paths import is_below, is_system_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from b10_store import FoundFile
    from b10_transfer.caches.kinds import RootKind
    from b10_transfer.caches.roots import CacheRoot

_VARIANT_GROUP = re.compile(
    r"(?:.*/)?(?:fxgraph/[^/]+/[^/]+|aotautograd/[^/]+)(?=/[^/]+$)", re.DOTALL
)
_NATIVE = (".so", ".o", ".h", ".gch")
_LIBRARY = ".so"

_PLACING_ORDERS = {
    name: order
    for order, name in enumerate(
        ("sources", "triton", "groups", "tuning", "fxgraph", "aotautograd", "models", "lists")
    )
}
_FOLDERS = re.compile(
    r"""(?xs)
    (?:.*/)?
    (?:
        (?P<tuning>cache/[^/]*)
        | (?P<models>dynamo/.*)
        | (?P<aotautograd>aotautograd/.*)
        | (?P<fxgraph>fxgraph/.*)
        | (?P<triton>triton(?:_cache)?/.*)
    )
    """
)
_MODEL = re.compile(r"(?:.*/)?rank_[^/]*/(?!inductor_cache/).*", re.DOTALL)
"""The files that vLLM keeps for a model, beside the caches of its compilers."""


def find_files(root: CacheRoot, skipped: list[Skipped] | None = None) -> list[FoundFile]:
    """Return the files of a cache root that are not left out, by path.

    A folder that does not exist holds nothing.

    Args:
        root: the cache root.
        skipped: receives the links in it that are not followed.
    """
    found = walk(root.folder, root.kind.enters, bounds_of(root), skipped)
    takes = root.taker(is_pure=not find_foreign(root))
    return [item for item in found if takes(item.path)]


def find_exports(root: CacheRoot) -> list[Skipped]:
    """Return the folders of exported models, which hold weights and are not caches."""
    with contextlib.suppress(OSError):
        return [
            Skipped(
                os.path.join(root.folder, name), "an exported model, which no compiler looks for"
            )
            for name in sorted(os.listdir(root.folder))
            if root.kind.exports.fullmatch(name)
        ]
    return []


def bounds_of(root: CacheRoot) -> Bounds:
    """Return the parts of a cache root that are not used."""
    bounds = Bounds(refuse_link=partial(refuse_link, root))
    return bounds._replace(refuse=others_can_write) if root.is_strict else bounds


def refuse_link(root: CacheRoot, target: str) -> str:
    """Return why a link in a cache root is not followed to a folder; "" when it is followed."""
    own = os.path.realpath(root.folder)
    if is_below(own, target) or is_system_folder(target):
        return "a link to a folder that is not only a cache"
    for other in root.apart:
        place = os.path.realpath(other)
        if is_below(target, place) or is_below(place, target):
            return "a link to another cache root or the store"
    return ""


def select_artifacts(
    root: CacheRoot,
    found: Sequence[FoundFile],
    requirement: str,
    needs: Callable[[FoundFile], str] = lambda _: "",
) -> tuple[list[LocalFile], list[Skipped]]:
    """Select the artifacts among the files of a cache root.

    Args:
        root: the cache root.
        found: what `find_files` returned.
        requirement: the host requirement of native code that is made here; "" when the environment
            key covers it.
        needs: returns what else a library needs of a host; see `native_needs`.

    Returns:
        The artifacts by path, and the files that would be artifacts if they were intact.
    """
    incomplete, skipped = find_incomplete(found)
    unfit = {*incomplete, *_unwritable(found, skipped)}
    bundles = Bundles(root.kind, (item.path for item in found))
    if unfit:
        _spread(unfit, found, bundles, skipped)
    required = _requirements(found, bundles, requirement, needs)
    groups, check = _VariantGroups(), partial(check_of, root.kind)
    files: list[LocalFile] = []
    for item in found:
        path = item.path
        if path not in unfit:
            name = path.rpartition("/")[2]
            files.append(
                LocalFile(
                    Identity(root.name, path, required.get(path, "")),
                    item,
                    _kept_time(root, item),
                    groups.length(path),
                    bundles.of(path),
                    canonical_group if is_group(name) else None,
                    unite_timings if _is_united(root, item, name) else None,
                    check,
                )
            )
    return files, skipped


def _unwritable(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    """Yield the paths that not every host can write."""
    for item in found:
        try:
            check_path(item.path)
        except LimitError:
            skipped.append(Skipped(item.location, "a name that not every host can write"))
            yield item.path


def _spread(
    unfit: set[str], found: Sequence[FoundFile], bundles: Bundles, skipped: list[Skipped]
) -> None:
    """Add to the unfit files those that are useless without them."""
    torn = {bundles.of(path) for path in unfit if not is_graph_list(path)} - {""}
    named = {item.location for item in skipped}
    for item in found:
        if bundles.of(item.path) in torn:
            unfit.add(item.path)
        if item.path in unfit and item.location not in named:
            skipped.append(Skipped(item.location, INCOMPLETE))


def _requirements(
    found: Sequence[FoundFile],
    bundles: Bundles,
    requirement: str,
    needs: Callable[[FoundFile], str],
) -> dict[str, str]:
    """Return the host requirement of native code, and of files in the same named bundle."""
    own = {
        item.path: needs(item) if item.path.endswith(_LIBRARY) else ""
        for item in found
        if is_native(item.path)
    }
    if not own:
        return {}
    by_bundle: defaultdict[str, list[str]] = defaultdict(list)
    for path, text in own.items():
        by_bundle[bundles.named(path)].append(text)
    shared = {bundle: united_needs(texts) for bundle, texts in by_bundle.items() if bundle}
    return {
        item.path: join_requirement(requirement, shared.get(bundle, own.get(item.path, "")))
        for item in found
        if (bundle := bundles.named(item.path)) in shared or item.path in own
    }


def _kept_time(root: CacheRoot, item: FoundFile) -> int | None:
    time_ns = item.fingerprint.mtime_ns
    return time_ns if root.kind.keeps_times and abs(time_ns) < 1 << 63 else None


def _is_united(root: CacheRoot, item: FoundFile, name: str) -> bool:
    # Their names have no dots, and looking for a dot is faster than matching.
    return (
        "." not in name
        and root.kind.timings.fullmatch(item.path) is not None
        and item.fingerprint.size <= UNITED_LIMIT
    )


def placing_order(path: str) -> int:
    """Return the rank in which a load places an artifact; lower ranks come first.

    No artifact is placed before those that it refers to: a Triton group needs its files, a graph
    its kernels, an autograd entry its graphs. Otherwise a reader would fail, or compile again.
    """
    folder, _, name = path.rpartition("/")
    if is_graph_list(name):
        return _PLACING_ORDERS["lists"]
    if is_group(name):
        return _PLACING_ORDERS["groups"]
    if name.endswith(".best_config"):
        return _PLACING_ORDERS["tuning"]
    return _folder_order(folder)


@lru_cache(FOLDERS_KNOWN)
def _folder_order(folder: str) -> int:
    """Return the rank in which a folder's files are placed, unless their names decide."""
    file = f"{folder}/name" if folder else "name"
    match = _FOLDERS.fullmatch(file)
    if match is not None and match.lastgroup is not None:
        return _PLACING_ORDERS[match.lastgroup]
    return _PLACING_ORDERS["models" if _MODEL.fullmatch(file) else "sources"]


def is_native(path: str) -> bool:
    """Return whether the artifact at `path` is code for the CPU, or is compiled to it."""
    return path.endswith(_NATIVE)


def artifact_kind(path: str) -> str:
    """Return the kind of artifact at `path`, in a word or two, for people."""
    folder, _, name = path.rpartition("/")
    inside = f"/{folder}/"
    for kind in ("fxgraph", "aotautograd", "dynamo"):
        if f"/{kind}/" in inside:
            return kind
    if inside.endswith("/cache/") or name.endswith(".best_config"):
        return "timings"
    _, dot, suffix = name.rpartition(".")
    return f".{suffix}" if dot else "other"


class Bundles:
    """The artifacts of a cache root that are useful only together.

    Triton fails on a group with a missing file (a KeyError in CompiledKernel), and Inductor does
    not repair a kernel's folder that is not empty (torch/_inductor/triton_bundler.py). So the
    folder of a group is a bundle, in any root. The table of cache roots names other bundles.
    """

    def __init__(self, kind: RootKind, paths: Iterable[str]) -> None:
        """Find the groups among `paths`."""
        self._kind = kind
        self._kernels = frozenset(_folder(path) for path in paths if is_group(path))
        self._known: dict[str, str] = {}

    def of(self, path: str) -> str:
        """Return the bundle of the artifact at `path`: its folder below the root, or ""."""
        folder = path.rpartition("/")[0]
        bundle = self._known.get(folder)
        if bundle is None:
            own = (folder or ".") if folder in self._kernels else ""
            bundle = self._known[folder] = self.named(path) or own
        return bundle

    def named(self, path: str) -> str:
        """Return the bundle that the table of roots names for the artifact at `path`, or ""."""
        match = self._kind.bundles.match(path)
        return match.group() if match is not None and path.startswith("/", match.end()) else ""


def restorer(
    path: str, folder: str, stored_names: Collection[str]
) -> Callable[[bytes], bytes] | None:
    """Return the function from stored bytes to those on disk; None when they are the same.

    Args:
        path: of the artifact, below its root.
        folder: the cache root on this host.
        stored_names: the names that are stored in the artifact's folder.
    """
    if not is_group(path):
        return None
    own_folder = os.path.dirname(local_path(folder, path))

    def restore(data: bytes) -> bytes:
        children = group_children(data)
        for child in children:
            if child not in stored_names and not os.path.exists(os.path.join(own_folder, child)):
                raise ValueError(f"{path} is a Triton group without {child}")
        return group_at(own_folder, children)

    return restore


class _VariantGroups:
    """As `variant_group_length`, for many files: looked for once in each folder."""

    def __init__(self) -> None:
        self._lengths: dict[str, int] = {}

    def length(self, path: str) -> int:
        folder = _folder(path)
        length = self._lengths.get(folder)
        if length is None:
            length = self._lengths[folder] = variant_group_length(path)
        return length


def variant_group_length(path: str) -> int:
    """Return the length of the part of a path that names its variant group; 0 without a group.

    Inductor keeps several files for one key, each named by the hash of its content, and tries them
    in turn (torch/_inductor/codecache.py, FxGraphCache.iterate_over_candidates).
    """
    match = _VARIANT_GROUP.match(path)
    return match.end() if match is not None else 0


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
