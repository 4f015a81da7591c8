"""Files that are cut short or damaged: compilers fail on them, so they are not spread."""

from __future__ import annotations

import ast
import json
import re
import struct
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.scan import CANONICAL_LIMIT, UNITED_LIMIT, Skipped, read_file
from b10_transfer.relocation import group_children, is_group
from b10_transfer.tuning import check_timings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from b10_store.scan import FoundFile
    from b10_transfer.root_kinds import RootKind

_GRAPH_LISTS = ("vllm_compile_cache.py", "sglang_compile_cache.py")
_TRITON_JSON = re.compile(r"(?:.*/)?(?:[A-Z2-7]{52}/[^/]+|[^/]+\.autotune)\.json", re.DOTALL)
"""Triton names a kernel's folder by a SHA-256 in base32 (triton/runtime/cache.py, _base32)."""

_DEVICE_CODE = (".cubin", ".hsaco")


def find_broken(
    kind: RootKind, found: Sequence[FoundFile], sound: Collection[str] = ()
) -> tuple[frozenset[str], list[Skipped]]:
    """What of the files of a cache root is not fit to be saved.

    Args:
        kind: of the cache root.
        found: its files.
        sound: paths of files that were looked at before, and have not changed since.

    Returns:
        Their paths, and the files with the reasons.
    """
    skipped: list[Skipped] = []
    unknown = [item for item in found if item.path not in sound]
    broken = {
        *_not_whole(unknown, skipped),
        *_unreadable_lists(unknown, skipped),
        *_damaged_timings(kind, unknown, skipped),
        *_damaged_json(unknown, skipped),
    }
    broken.update(_incomplete_groups(found, broken, skipped))
    return frozenset(broken), skipped


def is_graph_list(path: str) -> bool:
    """Whether the artifact at `path` lists a model's graphs: without it they are passed over."""
    return path.rpartition("/")[2] in _GRAPH_LISTS


def is_whole_elf(location: str, size: int) -> bool:
    """Whether a shared library, or code for a GPU, is there to its end.

    Linkers write to the final name; a library that is cut short kills the process that loads it
    with SIGBUS. The section headers come last in the file, or, in code for a GPU, the program
    headers after them, and the ELF header says where.
    """
    header = _read_start(location)
    return header is not None and _is_whole_elf(header, size)


def _is_whole_elf(header: bytes, size: int) -> bool:
    if len(header) < 52 or header[:4] != b"\x7fELF" or header[4] not in (1, 2):
        return False
    order = "<" if header[5] == 1 else ">"
    if header[4] == 2:
        if len(header) < 64:
            return False
        programs, sections = struct.unpack_from(order + "QQ", header, 0x20)
        sizes = struct.unpack_from(order + "HHHH", header, 0x36)
    else:
        programs, sections = struct.unpack_from(order + "II", header, 0x1C)
        sizes = struct.unpack_from(order + "HHHH", header, 0x2A)
    ends = (programs + sizes[0] * sizes[1], sections + sizes[2] * sizes[3])
    return bool(sections) and max(ends) <= size


def _is_whole_device_code(location: str, size: int) -> bool:
    """Whether code for a GPU is there to its end; of what is no ELF file, whether it has bytes."""
    start = _read_start(location)
    if start is None:
        return False
    return _is_whole_elf(start, size) if start[:4] == b"\x7fELF" else start[:1] != b"\0"


def _not_whole(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    if sys.platform != "linux":
        return  # other systems' libraries are not ELF
    for item in found:
        size = item.fingerprint.size
        if item.path.endswith((".so", ".o")):
            is_whole = is_whole_elf(item.location, size)
        elif item.path.endswith(_DEVICE_CODE):
            is_whole = _is_whole_device_code(item.location, size)
        else:
            continue
        if not is_whole:
            skipped.append(Skipped(item.location, "native code that is not whole"))
            yield item.path


def _damaged_timings(
    kind: RootKind, found: Sequence[FoundFile], skipped: list[Skipped]
) -> Iterator[str]:
    """Timings that Inductor could not read: it fails on them."""
    for item in found:
        if not kind.timings.fullmatch(item.path) or item.fingerprint.size > UNITED_LIMIT:
            continue
        try:
            check_timings(read_file(item.location, UNITED_LIMIT))
        except (OSError, ValueError):
            skipped.append(Skipped(item.location, "timings that are not whole"))
            yield item.path


def _damaged_json(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    """What Triton notes of a kernel, and its timings, where it could not read them: it fails.

    Triton puts whole files in place and does not flush them: after a crash of the machine they may
    be empty or zeros (triton/compiler/compiler.py, CompiledKernel; triton/runtime/autotuner.py,
    Autotuner.check_disk_cache).
    """
    for item in found:
        if not _TRITON_JSON.fullmatch(item.path) or is_group(item.path):
            continue
        try:
            content: object = json.loads(_read_small(item))
        except (OSError, RecursionError, ValueError):
            content = None
        if not isinstance(content, dict):
            skipped.append(Skipped(item.location, "JSON that is not whole"))
            yield item.path


def _unreadable_lists(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    """The lists of a model's graphs that are cut short.

    vLLM and SGLang write them in place, and fail on one that is not a Python literal
    (vllm/compilation/backends.py, sglang/srt/compilation/backend.py: CompilerManager).
    """
    for item in found:
        if not is_graph_list(item.path):
            continue
        try:
            ast.literal_eval(_read_small(item).decode())
        except (MemoryError, OSError, RecursionError, SyntaxError, TypeError, ValueError):
            skipped.append(Skipped(item.location, "a list of graphs that is not whole"))
            yield item.path


def _incomplete_groups(
    found: Sequence[FoundFile], broken: set[str], skipped: list[Skipped]
) -> Iterator[str]:
    """Triton groups of which a file is missing, empty or not whole: Triton fails on them."""
    sizes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for item in found:
        if item.path not in broken:
            folder, _, name = item.path.rpartition("/")
            sizes[folder][name] = item.fingerprint.size
    for item in found:
        if not is_group(item.path):
            continue
        folder = item.path.rpartition("/")[0]
        try:
            children = group_children(_read_small(item))
        except (OSError, ValueError):
            skipped.append(Skipped(item.location, "a Triton group that is not whole"))
            yield item.path
            continue
        if not all(sizes[folder].get(name) for name in children):
            skipped.append(Skipped(item.location, "a Triton group with a missing or broken file"))
            yield item.path
            yield from (f"{folder}/{child}" if folder else child for child in children)


def _read_start(location: str) -> bytes | None:
    try:
        with open(location, "rb", buffering=0) as file:
            return file.read(64)
    except OSError:
        return None


def _read_small(item: FoundFile) -> bytes:
    return read_file(item.location, CANONICAL_LIMIT)
