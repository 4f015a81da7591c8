"""Cache trees of any size, grown from real artifacts.

Each copy of an artifact has the size of the real one and other bytes. In texts the numbers of
variables change, digit for digit, and the order of lines, as between the kernels of one model; in
graphs, which stay the pickles that they are, the numbers alone. In ELF files machine code changes
by a permutation of bytes: headers, symbols and debugging information stay, and so does how well the
code compresses by itself. Names are what the compilers would give. File by file, a tree compresses
to a fifth; where files share frames, to two fifths of that, as real trees do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import struct
import subprocess
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

from bench.messages import tell
from bench.seeds import cache_folder, load_seeds, made_whole, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.seeds import Seeds

_FORM = 2
"""Raised when trees are grown in another way: older ones in the cache are not used then."""

_KERNELS, _SOURCES = 7, 4
FILES_PER_UNIT = 8 * _KERNELS + 2 * _SOURCES + 3
"""A unit is what one layer may leave: kernels, libraries, a module, a graph and its autograd."""

_UNITS_PER_LARGE_KERNEL = 40
_NUMBERS = re.compile(
    rb"(?<=[%!])\d+|(?<=%r)\d+|(?<=tmp)\d+|(?<=buf)\d+|(?<=ptr)\d+|(?<=cst_)\d+|(?<=#loc)\d+"
)
_KEPT_LINES = 4
"""At both ends of a text, where readers look for what it is and whether it is whole."""

_HASH = re.compile(rb'(?<="hash": ")[0-9a-f]{64}(?=")')
_FOLDERS = "[folder]"


def grown_tree(files: int) -> Path:
    """Return a tree of about so many files, grown now if it never was; not to be changed."""
    units = max(1, round(files / FILES_PER_UNIT))
    folder = cache_folder() / f"tree-{_FORM}-{units}-{versions()}"
    if not folder.exists():
        seeds = load_seeds()
        tell(f"growing a tree of {units * FILES_PER_UNIT:,} files (once)")
        with made_whole(folder) as made:
            _grow(made, seeds, range(units))
    return folder


def copy_tree(tree: Path, root: Path) -> None:
    """Copy a grown tree to a cache root, as if it had been compiled there just now.

    Args:
        tree: what `grown_tree` returned.
        root: the cache root, which must not exist yet.
    """
    subprocess.run(["cp", "-r", tree, root], check=True)
    _name_folders(root, root.glob("triton/0/*/__grp__*.json"))


def add_to_tree(root: Path, files: int, compilation: int = 0) -> int:
    """Add about so many files to a cache root; return how many.

    Args:
        root: the cache root, which may hold other files.
        files: how many.
        compilation: trees grown by others have none of the same files.
    """
    first = (compilation + 1) * 1_000_000
    units = ceil(files / FILES_PER_UNIT)
    before = set(root.glob("triton/0/*/__grp__*.json"))
    _grow(root, load_seeds(), range(first, first + units))
    _name_folders(root, iter(set(root.glob("triton/0/*/__grp__*.json")) - before))
    return units * FILES_PER_UNIT


def half_of_tree(root: Path) -> None:
    """Remove every second file of a cache root, kernel by kernel."""
    for folder in islice(sorted(root.glob("triton/0/*")), 0, None, 2):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    for pattern in ("??/*", "fxgraph/*/*/*", "aotautograd/*/*"):
        for path in islice(sorted(root.glob(pattern)), 0, None, 2):
            path.unlink()


def _name_folders(root: Path, groups: Iterator[Path]) -> None:
    for group in groups:
        text = group.read_text(encoding="utf-8")
        group.write_text(text.replace(_FOLDERS, str(root)), encoding="utf-8")


def _grow(root: Path, seeds: Seeds, units: range) -> None:
    for unit in units:
        source = random.Random(unit)
        pick: Callable[[tuple[Path, ...]], Path] = source.choice
        for _ in range(_KERNELS - 1):
            _copy_kernel(root, pick(seeds.kernels), source)
        is_large = unit % _UNITS_PER_LARGE_KERNEL == 0
        _copy_kernel(root, pick(seeds.large_kernels if is_large else seeds.kernels), source)
        for _ in range(_SOURCES):
            _copy_library(root, pick(seeds.sources), source)
        text = _changed_text(pick(seeds.modules).read_bytes(), source)
        _write(root, "c" + _digest(text.strip()), ".py", text)
        for folder, prefix, entries in (
            ("fxgraph", "f", seeds.graphs),
            ("aotautograd", "a", seeds.autograd),
        ):
            data = _changed_numbers(pick(entries).read_bytes(), source)
            key = prefix + _digest(source.randbytes(32))
            below = f"{folder}/{key[1:3]}/{key}" if folder == "fxgraph" else f"{folder}/{key}"
            _write_at(root / below / _digest(data), data)


def _copy_kernel(root: Path, kernel: Path, source: random.Random) -> None:
    name = base64.b32encode(source.randbytes(32)).rstrip(b"=").decode()
    digest = source.randbytes(32).hex().encode()
    for path in sorted(kernel.iterdir()):
        data = path.read_bytes()
        if path.name.startswith("__grp__"):
            children = {child: f"{_FOLDERS}/triton/0/{name}/{child}" for child in _children(data)}
            data = json.dumps({"child_paths": children}).encode()
        elif path.suffix == ".json":
            data = _HASH.sub(digest, data)
        elif path.suffix == ".cubin":
            data = _changed_code(data, source)
        else:
            data = _changed_text(data, source)
        _write_at(root / "triton" / "0" / name / path.name, data)


def _children(group: bytes) -> list[str]:
    return sorted(json.loads(group)["child_paths"])


def _copy_library(root: Path, cpp: Path, source: random.Random) -> None:
    library = cpp.with_suffix(".so").read_bytes()
    text = _changed_text(cpp.read_bytes(), source)
    # As Inductor does, by the text and the command that compiles it; here, any other word.
    stem = "c" + _digest(text + source.randbytes(8))
    _write(root, stem, ".main.cpp", text)
    _write(root, stem, ".main.so", _changed_code(library, source))


def _write(root: Path, stem: str, suffix: str, data: bytes) -> None:
    _write_at(root / stem[1:3] / (stem + suffix), data)


def _write_at(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _changed_numbers(data: bytes, source: random.Random) -> bytes:
    digits = bytearray(b"123456789")
    source.shuffle(digits)
    table = bytes.maketrans(b"123456789", bytes(digits))
    return _NUMBERS.sub(lambda match: match[0].translate(table), data)


def _changed_text(data: bytes, source: random.Random) -> bytes:
    lines = _changed_numbers(data, source).split(b"\n")
    inner = lines[_KEPT_LINES:-_KEPT_LINES]
    source.shuffle(inner)
    return b"\n".join([*lines[:_KEPT_LINES], *inner, *lines[-_KEPT_LINES:]])


def _changed_code(data: bytes, source: random.Random) -> bytes:
    values = bytearray(range(256))
    source.shuffle(values)
    changed = bytearray(data)
    for start, end in _code_sections(data):
        changed[start:end] = data[start:end].translate(values)
    return bytes(changed)


def _code_sections(elf: bytes) -> Iterator[tuple[int, int]]:
    """Yield where machine code lies in a 64-bit little-endian ELF file: start and end."""
    table = struct.unpack_from("<Q", elf, 0x28)[0]
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", elf, table + size * index) for index in range(count)]
    names_start = heads[names][4]
    for name, _kind, _flags, _address, start, length in heads:
        if elf.startswith(b".text", names_start + name):
            yield start, start + length


def _digest(data: bytes) -> str:
    """What Inductor calls a file of this content."""
    return base64.b32encode(hashlib.sha256(data).digest())[:51].decode().lower()
