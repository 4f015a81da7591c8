"""Which files of a cache root are artifacts, and what is special about some of them."""

from __future__ import annotations

import os
import re
import struct
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.errors import LimitError
from b10_store.manifest import Identity
from b10_store.paths import check_path, local_path
from b10_store.scan import CANONICAL_LIMIT, FoundFile, LocalFile, Skipped, walk
from b10_transfer.relocation import canonical_group, group_children, is_group, restore_group

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from b10_transfer.cache_roots import CacheRoot, RootKind

_LEFT_OUT = re.compile(
    r"""(?x)
    \..*                # hidden: Inductor's own temporary files are called .<pid>.<tid>.tmp
    | .*\.lock | lock
    | .*\.tmp
    | tmp.*\.py         # sources of benchmarks
    | .*\.error
    | memoizer_cache\.json
    """
)
_KEPT_OBJECT = re.compile(r".*\.(?:main|optimized)\.o")
"""What Inductor links a split C++ wrapper from, and builds again when it is not there
(torch/_inductor/codecache.py, _worker_compile_cpp)."""

_BUILD_FOLDER = re.compile(r"\..*|tmp\..*|.*_CxxBuild")
_VARIANT_GROUP = re.compile(r"(?:fxgraph/[^/]+/[^/]+|aotautograd/[^/]+)(?=/[^/]+$)")
_NATIVE = (".so", ".o", ".h", ".gch")

_SOURCES, _TRITON, _TRITON_GROUPS, _TUNING, _FX_GRAPH, _AOT_AUTOGRAD, _DYNAMO = range(7)


def find_files(root: CacheRoot, elsewhere: Collection[str] = ()) -> list[FoundFile]:
    """The files of a cache root that are not to be left out, by path.

    A folder that does not exist holds nothing.

    Args:
        root: where to look.
        elsewhere: folders that belong to other roots, absolute.
    """
    enters = _enters(root.kind)

    def enters_own(path: str) -> bool:
        return enters(path) and local_path(root.folder, path) not in elsewhere

    layout = root.kind.layout
    return [
        item
        for item in walk(root.folder, enters_own)
        if _is_taken(item.path) and (layout is None or layout.fullmatch(item.path))
    ]


def select_artifacts(
    root: CacheRoot, found: Sequence[FoundFile], requirement: str
) -> tuple[list[LocalFile], list[Skipped]]:
    """The artifacts among the files of a cache root.

    Args:
        root: the cache root.
        found: what `find_files` returned.
        requirement: what native code made here needs of a host, or "" when the environment key says
            it already.

    Returns:
        The artifacts by path, and files that would be artifacts if they were whole.
    """
    skipped: list[Skipped] = []
    broken = set(_not_whole(found, skipped))
    broken.update(_incomplete_groups(found, broken, skipped))
    bundles = bundle_folders(item.path for item in found if item.path not in broken)
    files: list[LocalFile] = []
    for item in found:
        if item.path in broken:
            continue
        try:
            check_path(item.path)
        except LimitError as error:
            skipped.append(Skipped(item.location, str(error)))
            continue
        files.append(
            LocalFile(
                identity=Identity(root.name, item.path, _requirement(item.path, requirement)),
                found=item,
                bundle=bundle_of(item.path, bundles),
                group_length=variant_group_length(item.path),
                canonical=canonical_group if is_group(item.path) else None,
            )
        )
    return files, skipped


def placing_order(path: str) -> int:
    """When a load puts an artifact in place: a lower number first.

    Nothing is ever there before what it refers to: a Triton group needs its files, a graph its
    kernels, an autograd entry its graphs. A reader would fail, or compile again.
    """
    first = path.partition("/")[0]
    by_folder = {"fxgraph": _FX_GRAPH, "aotautograd": _AOT_AUTOGRAD, "dynamo": _DYNAMO}
    if first in by_folder:
        return by_folder[first]
    if is_group(path):
        return _TRITON_GROUPS
    if first == "triton":
        return _TRITON
    return _TUNING if first == "cache" or path.endswith(".best_config") else _SOURCES


def bundle_folders(paths: Iterable[str]) -> frozenset[str]:
    """The folders among `paths` in which all files are of use only together: Triton's kernels.

    Triton fails on a group of which a file is missing (a KeyError in CompiledKernel), and Inductor
    does not repair a kernel's folder that is not empty (torch/_inductor/triton_bundler.py).
    """
    return frozenset(_folder(path) for path in paths if is_group(path))


def bundle_of(path: str, bundles: Collection[str]) -> str:
    """The bundle of the artifact at `path`, or ""; `bundles` as `bundle_folders` returned."""
    folder = _folder(path)
    return (folder or ".") if folder in bundles else ""


def restorer(
    path: str, folder: str, stored_names: Collection[str]
) -> Callable[[bytes], bytes] | None:
    """What makes the bytes on disk of an artifact's stored ones, or None where they are the same.

    Args:
        path: of the artifact, below its root.
        folder: the cache root on this host.
        stored_names: the names of what is stored in the artifact's folder.
    """
    if not is_group(path):
        return None
    own_folder = os.path.dirname(local_path(folder, path))

    def restore(data: bytes) -> bytes:
        for child in group_children(data):
            if child not in stored_names and not os.path.exists(os.path.join(own_folder, child)):
                raise ValueError(f"{path} is a Triton group without {child}")
        return restore_group(data, own_folder)

    return restore


def variant_group_length(path: str) -> int:
    """How many characters of the path name its variant group; 0 for an artifact of none.

    Inductor keeps several files for one key, each named by the hash of its content, and tries them
    in turn (torch/_inductor/codecache.py, FxGraphCache.iterate_over_candidates).
    """
    match = _VARIANT_GROUP.match(path)
    return match.end() if match is not None else 0


def is_whole_elf(location: str, size: int) -> bool:
    """Whether a shared library is there to its end.

    Linkers write to the final name; a library that is cut short kills the process that loads it
    with SIGBUS. The section headers come last in the file, and the ELF header says where.
    """
    try:
        with open(location, "rb") as file:
            header = file.read(64)
    except OSError:
        return False
    if len(header) < 52 or header[:4] != b"\x7fELF" or header[4] not in (1, 2):
        return False
    order = "<" if header[5] == 1 else ">"
    if header[4] == 2:
        if len(header) < 64:
            return False
        (table,) = struct.unpack_from(order + "Q", header, 0x28)
        entry_size, count = struct.unpack_from(order + "HH", header, 0x3A)
    else:
        (table,) = struct.unpack_from(order + "I", header, 0x20)
        entry_size, count = struct.unpack_from(order + "HH", header, 0x2E)
    return bool(table) and table + entry_size * count <= size


def _enters(kind: RootKind) -> Callable[[str], bool]:
    def enters(path: str) -> bool:
        parent, _, name = path.rpartition("/")
        if name in kind.skipped_folders or _BUILD_FOLDER.fullmatch(name):
            return False
        return bool(parent) or name not in kind.skipped_at_top

    return enters


def _is_taken(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if _LEFT_OUT.fullmatch(name):
        return False
    # Object files are steps of a build, except where the compiler keeps them and looks for them.
    return (
        not name.endswith(".o")
        or _KEPT_OBJECT.fullmatch(name) is not None
        or folder.startswith("cutedsl_compile_cache")
    )


def _not_whole(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    if sys.platform != "linux":
        return  # other systems' libraries are not ELF
    for item in found:
        if not item.path.endswith((".so", ".o")):
            continue
        if not is_whole_elf(item.location, item.fingerprint.size):
            skipped.append(Skipped(item.location, "native code that is not whole"))
            yield item.path


def _incomplete_groups(
    found: Sequence[FoundFile], broken: set[str], skipped: list[Skipped]
) -> Iterator[str]:
    """Triton groups of which a file is missing: Triton fails on them, so they are not spread."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for item in found:
        if item.path not in broken:
            folder, _, name = item.path.rpartition("/")
            names[folder].add(name)
    for item in found:
        if not is_group(item.path):
            continue
        folder = item.path.rpartition("/")[0]
        try:
            children = group_children(_read_small(item))
        except (OSError, ValueError) as error:
            skipped.append(Skipped(item.location, f"not a Triton group: {error}"))
            yield item.path
            continue
        missing = sorted(set(children) - names[folder])
        if missing:
            skipped.append(Skipped(item.location, f"a Triton group without {missing[0]}"))
            yield item.path
            yield from (f"{folder}/{child}" if folder else child for child in children)


def _read_small(item: FoundFile) -> bytes:
    if item.fingerprint.size > CANONICAL_LIMIT:
        raise ValueError(f"over {CANONICAL_LIMIT} bytes")
    with open(item.location, "rb") as file:
        return file.read(CANONICAL_LIMIT + 1)


def _requirement(path: str, requirement: str) -> str:
    return requirement if path.endswith(_NATIVE) else ""


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
