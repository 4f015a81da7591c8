"""Cache trees of the shape that compilers leave, as a mapping from path to bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Tree = dict[str, bytes]

LOCAL_RECORD = ".b10_transfer"

TRITON_HASH = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRST"
"""The name of a kernel's folder: 52 characters of base32."""


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no compressor makes smaller, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def elf(payload: bytes = b"") -> bytes:
    """A 64-bit ELF file that is whole: its section headers, one of 64 bytes, end it."""
    table = 64 + len(payload)
    identification = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    fields = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 1, 0)
    return identification + fields + payload + bytes(64)


def pickled(data: bytes) -> bytes:
    """The pickle of these bytes."""
    return b"\x80\x04B" + struct.pack("<I", len(data)) + data + b"."


def compiled_graph(name: str, seed: int = 0) -> Tree:
    """What Inductor keeps of one graph: a source, its library, the graph and its autograd entry."""
    source = f"# {name}, variant {seed}\n".encode() * 20
    # gcc notes what it compiled for; code that says nothing and is old is nobody's own.
    library = elf(b"\0GNU C++20 12.2.0 -march=x86-64 -g1\0" + noise(2000, seed))
    graph = f"graph of {name} ".encode() + noise(500, seed)
    autograd = f"autograd of {name} ".encode() + noise(300, seed)
    key = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()[:51]
    return {
        f"{key[:2]}/c{key}.py": source,
        f"{key[:2]}/c{key}.main.so": library,
        f"fxgraph/{key[1:3]}/f{key}/{hashlib.sha256(graph).hexdigest()}": graph,
        f"aotautograd/a{key}/{hashlib.sha256(autograd).hexdigest()}": autograd,
    }


def triton_kernel(folder: Path, name: str = "kernel", code: bytes = b"sm_90 code") -> Tree:
    """A compiled kernel as Triton leaves it in `folder`, one level below its cache root."""
    files = {f"{name}.cubin": code, f"{name}.json": b'{"num_warps": 4}', f"{name}.ptx": b"// ptx"}
    group = {"child_paths": {child: str(folder / child) for child in files}}
    return {**files, f"__grp__{name}.json": json.dumps(group).encode()}


def write_tree(root: Path, tree: Mapping[str, bytes]) -> None:
    """Put files below `root`, which is made when it is not there."""
    for path, data in tree.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def read_tree(root: Path) -> Tree:
    """Every regular file below `root`, the local record aside."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != LOCAL_RECORD]
        for name in files:
            path = root.joinpath(folder, name)
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a folder, itself included, with all that writing to it would change."""
    found: dict[str, tuple[int, ...]] = {}
    for where, folders, files in os.walk(folder):
        for name in ["", *folders, *files]:
            path = folder.joinpath(where, name)
            status = path.lstat()
            found[path.relative_to(folder).as_posix()] = (
                status.st_mode,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_ino,
            )
    return found


def leftovers(root: Path) -> list[str]:
    """What an operation that is over should not have left in a cache root's local record."""
    record = root / LOCAL_RECORD
    return sorted(
        path.name
        for path in (record.iterdir() if record.exists() else ())
        if path.is_dir() or path.suffix == ".tmp"
    )
