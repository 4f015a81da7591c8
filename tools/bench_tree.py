"""A cache tree of the size and shape that a max-autotune diffusion model leaves behind.

6,220 files, about 84 MB: 690 Triton kernels of eight files each, Inductor's modules, graphs and
autograd entries. The text is made of a small vocabulary and the binaries of repeated and random
parts, so that they compress about as well as real ones do (to 22 % with gzip).
"""

from __future__ import annotations

import base64
import json
import random
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KERNELS = 690
MODULES = 500
GRAPHS = 100
_WORDS = (
    *("add", "mul", "load", "store", "tl.arange", "tl.program_id", "mask", "xindex", "rblock"),
    *("%cst", "%arg", "tensor<64xf32>", "arith.addf", "tt.splat", "tt.addptr", "!dbg", "loc("),
    *("ld.global.b32", "mov.u32", "fma.rn.f32", "bar.sync", "float32"),
)


def write_tree(root: Path, kernels: int = KERNELS) -> None:
    """Write the tree below `root`, which must not exist yet.

    Args:
        root: an absolute path; Triton's groups hold it.
        kernels: number of Triton kernels; modules and graphs are scaled with it.
    """
    source = random.Random(7)
    for index in range(kernels):
        _write_kernel(root / "triton" / "0" / _name(source).upper()[:52], f"triton_{index}", source)
    for index in range(MODULES * kernels // KERNELS):
        text = _text(source, 9_000)
        _write(root / f"{index % 251:02x}" / f"c{_content_name(text.strip())}.py", text)
    for _ in range(GRAPHS * kernels // KERNELS):
        key = "f" + _name(source)[:51]
        _write_named(root / "fxgraph" / key[1:3] / key, _binary(source, 90_000))
        key = "a" + _name(source)[:51]
        _write_named(root / "aotautograd" / key, _binary(source, 40_000))


def add_to_tree(root: Path, part: float) -> None:
    """Add kernels as a second compiled shape does: `part` of the tree's files."""
    source = random.Random(8)
    for index in range(round(KERNELS * part)):
        folder = root / "triton" / "0" / _name(source).upper()[:52]
        _write_kernel(folder, f"triton_more_{index}", source)


def _write_kernel(folder: Path, name: str, source: random.Random) -> None:
    files = {
        f"{name}.source": _text(source, 4_000),
        f"{name}.ttir": _text(source, 9_000),
        f"{name}.ttgir": _text(source, 12_000),
        f"{name}.llir": _text(source, 24_000),
        f"{name}.ptx": _text(source, 18_000),
        f"{name}.cubin": b"sm_90" + _binary(source, 22_000),
        f"{name}.json": json.dumps({"hash": folder.name, "name": name, "num_warps": 4}).encode(),
    }
    for file_name, data in files.items():
        _write(folder / file_name, data)
    children = {file_name: str(folder / file_name) for file_name in files}
    _write(folder / f"__grp__{name}.json", json.dumps({"child_paths": children}).encode())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_named(folder: Path, data: bytes) -> None:
    _write(folder / _content_name(data), data)


def _content_name(data: bytes) -> str:
    """What Inductor calls a file of this content."""
    return base64.b32encode(sha256(data).digest())[:51].decode().lower()


def _name(source: random.Random) -> str:
    return sha256(source.randbytes(16)).hexdigest()


def _text(source: random.Random, size: int) -> bytes:
    lines = [
        f"{source.choice(_WORDS)} {source.choice(_WORDS)} %{source.randrange(400)}\n"
        for _ in range(size // 24)
    ]
    return "".join(lines).encode()


def _binary(source: random.Random, size: int) -> bytes:
    block = source.randbytes(256)
    parts = [source.randbytes(64) + block + bytes(160) for _ in range(size // 480)]
    return b"".join(parts)
