"""Files that are cut short or damaged: compilers fail on them, so they are not spread."""

from __future__ import annotations

import ast
import struct
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.scan import CANONICAL_LIMIT, UNITED_LIMIT, Skipped
from b10_transfer.relocation import group_children, is_group
from b10_transfer.tuning import check_timings, is_timings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from b10_store.scan import FoundFile

_GRAPH_LISTS = ("vllm_compile_cache.py", "sglang_compile_cache.py")


def find_broken(found: Sequence[FoundFile]) -> tuple[frozenset[str], list[Skipped]]:
    """What of the files of a cache root is not fit to be saved.

    Returns:
        Their paths, and the files with the reasons.
    """
    skipped: list[Skipped] = []
    broken = {
        *_not_whole(found, skipped),
        *_unreadable_lists(found, skipped),
        *_damaged_timings(found, skipped),
    }
    broken.update(_incomplete_groups(found, broken, skipped))
    return frozenset(broken), skipped


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


def _not_whole(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    if sys.platform != "linux":
        return  # other systems' libraries are not ELF
    for item in found:
        if not item.path.endswith((".so", ".o")):
            continue
        if not is_whole_elf(item.location, item.fingerprint.size):
            skipped.append(Skipped(item.location, "native code that is not whole"))
            yield item.path


def _damaged_timings(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    """Timings that Inductor could not read: it fails on them."""
    for item in found:
        if not is_timings(item.path):
            continue
        try:
            with open(item.location, "rb") as file:
                check_timings(file.read(UNITED_LIMIT))
        except (OSError, ValueError):
            skipped.append(Skipped(item.location, "timings that are not whole"))
            yield item.path


def _unreadable_lists(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    """The lists of a model's graphs that are cut short.

    vLLM and SGLang write them in place, and fail on one that is not a Python literal
    (vllm/compilation/backends.py, sglang/srt/compilation/backend.py: CompilerManager).
    """
    for item in found:
        if item.path.rpartition("/")[2] not in _GRAPH_LISTS:
            continue
        try:
            ast.literal_eval(_read_small(item).decode())
        except (MemoryError, OSError, RecursionError, SyntaxError, TypeError, ValueError):
            skipped.append(Skipped(item.location, "a list of graphs that is not whole"))
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
