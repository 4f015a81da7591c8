"""Real artifacts, compiled on the spot: what every tree is grown from.

Small models are compiled to C++ by Inductor, and a few kernels to code for compute capability 9.0
by Triton, which needs no GPU for that. It takes a minute and is kept in the bench's own cache, by
the versions of both compilers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench.messages import tell
from tools import compile_kernels
from tools.compile_model import Question, Request, compile_in
from tools.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Generator

_MODELS = Request(
    (
        Question("gelu-perceptron", 8),
        Question("transformer", 8),
        Question("transformer", 16, "dynamic"),
    )
)
_LARGE_KERNEL = "gram.cubin"


@dataclass(frozen=True, slots=True)
class Seeds:
    """The real artifacts, by what a compiler writes together.

    Attributes:
        kernels: folders of Triton, each with one kernel of eight files.
        large_kernels: the same, where the unrolled code takes near a megabyte.
        sources: C++ of Inductor; the library lies beside it.
        modules: Inductor's Python.
        graphs: entries of the cache of graphs.
        autograd: entries of the cache of AOTAutograd.
    """

    kernels: tuple[Path, ...]
    large_kernels: tuple[Path, ...]
    sources: tuple[Path, ...]
    modules: tuple[Path, ...]
    graphs: tuple[Path, ...]
    autograd: tuple[Path, ...]


def cache_folder() -> Path:
    """Where seeds and trees are kept from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "b10-transfer-bench")


def versions() -> str:
    """What made the seeds, as a part of a file name."""
    return "-".join(f"{name}{metadata.version(name)}" for name in ("torch", "triton"))


def load_seeds() -> Seeds:
    """Return the seeds, compiled now if they never were."""
    folder = cache_folder() / f"seeds-{versions()}"
    if not folder.exists():
        tell("compiling real artifacts (a minute, once)")
        with made_whole(folder) as made:
            _compile(made)
    inductor, kernels = folder / "inductor", sorted((folder / "triton").iterdir())
    large = tuple(each for each in kernels if (each / _LARGE_KERNEL).exists())
    return Seeds(
        kernels=tuple(each for each in kernels if each not in large and each.is_dir()),
        large_kernels=large,
        sources=tuple(sorted(inductor.glob("??/*.main.cpp"))),
        modules=tuple(sorted(inductor.glob("??/*.py"))),
        graphs=_files_below(inductor / "fxgraph"),
        autograd=_files_below(inductor / "aotautograd"),
    )


@contextmanager
def made_whole(folder: Path) -> Generator[Path]:
    """Make a folder under another name, so that one that is there is whole.

    Yields:
        The folder to fill. It is removed if that fails, and if another process was first.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}."))
    try:
        yield made
        if not folder.exists():
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _compile(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="b10-bench-") as home:
        replica = Replica(
            store=Path(home, "store"),
            cache_root=folder / "inductor",
            home=Path(home),
            host_temporary=Path(home, "tmp"),
        )
        compile_in(replica, _MODELS)
        compile_kernels.compile_in(
            replica,
            compile_kernels.Request(compile=True),
            TRITON_CACHE_DIR=str(folder / "triton"),
        )


def _files_below(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
