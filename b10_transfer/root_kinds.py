"""The table of cache roots: whose they are, where they lie, which of their files are artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from b10_transfer import cache_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _leaving_out(*forms: str) -> re.Pattern[str]:
    """A pattern of the paths that have one of these forms, or lie below one that has."""
    return re.compile(f"(?:{'|'.join(forms)})(?:/.*)?", re.DOTALL)


def _named(*names: str) -> str:
    """The form of a path, at any depth, that ends with a name of one of these forms."""
    return f"(?:.*/)?(?:{'|'.join(names)})"


_LOCKS = (r"[^/]*\.lock", "lock", "locks")
_TEMPORARY = (r"[^/]*\.tmp(?:\.\d+)?", r"tmp\.[^/]*", r"[^/]*\.part", r"\.staging[^/]*")
_HIDDEN = r"\.[^/]*"
_HIDDEN_BUT_NINJAS = r"\.(?!ninja_(?:log|deps)$)[^/]*"
"""ninja builds everything again where its log is missing."""

_INDUCTOR_AT_TOP = (
    "aoti_eager",
    "autoheuristic",
    "compiler_bisect",
    "gcc",
    "precompiled_headers",  # a root of its own
    "torch_cutlass",
    "unhashed_kernel_inputs",
)
_INDUCTOR_ANYWHERE = (
    r"[^/]*_CxxBuild",
    r"tmp[^/]*\.py",  # sources of benchmarks
    r"[^/]*\.error",
    r"memoizer_cache\.json",
)
# Object files are steps of a build, except those that Inductor links a split C++ wrapper from
# (torch/_inductor/codecache.py, _worker_compile_cpp) and the results of CuTe DSL.
_INDUCTOR_OBJECT = r"(?!cutedsl_compile_cache/)(?:.*/)?[^/]*(?<!\.main)(?<!\.optimized)\.o"


def _inductor_leftovers(at: str = "") -> tuple[str, ...]:
    """What is no artifact in a folder of Inductor, which lies at `at` below the root."""
    top = "|".join(_INDUCTOR_AT_TOP)
    return (f"{at}(?:{top})", at + _named(*_INDUCTOR_ANYWHERE), at + _INDUCTOR_OBJECT)


_ANYTHING = re.compile(r".*", re.DOTALL)
_NOTHING = re.compile(r"(?!)")
_FLASHINFER_LEFT_OUT = (
    "cubins",  # downloads
    r"(?:.*/)?flashinfer_jit\.log",
    "tmp",
    r"(?:.*/)?cached_ops/tmp",
)
_TILELANG_LEFT_OUT = (
    "tmp",
    "py-cache",  # for tracebacks; written anew by each process
)
_TIMINGS = r"cache/[0-9a-f]{64}"
_TILELANG_TUNED = r"(?:.*/)?autotuner/[^/]+"

_PLAIN_LEFT_OUT = _leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN_BUT_NINJAS))


@dataclass(frozen=True, slots=True)
class RootKind:
    """A row of the table of cache roots.

    Attributes:
        name: as stored in manifests.
        resolve: where its compiler keeps it, given the environment variables.
        left_out: the paths below it, of files and folders, that hold nothing to save.
        within: the folders below it that are looked into; () for all.
        layout: the form of the paths that its compiler writes.
        keeps_times: whether the modification times of its files matter to its compiler.
        bundles: the folders of which all files are of use together only: their compiler takes one
            that lacks a file for whole, and fails. Triton's kernels are such folders in any root.
        timings: the paths of Inductor's timings, which unite with those of other hosts.
        is_users: whether it is a folder of the user's own, in which there may be other things.
    """

    name: str
    resolve: Callable[[Mapping[str, str]], str]
    left_out: re.Pattern[str] = _PLAIN_LEFT_OUT
    within: tuple[str, ...] = ()
    layout: re.Pattern[str] = _ANYTHING
    keeps_times: bool = False
    bundles: re.Pattern[str] = _NOTHING
    timings: re.Pattern[str] = _NOTHING
    is_users: bool = False

    def enters(self, path: str) -> bool:
        """Whether there may be artifacts in a folder, given its path below the root."""
        if self.left_out.fullmatch(path):
            return False
        return not self.within or any(
            _lies_in(path, folder) or _lies_in(folder, path) for folder in self.within
        )

    def takes(self, path: str) -> bool:
        """Whether a file is an artifact, by its path below the root."""
        if self.left_out.fullmatch(path) or not self.layout.fullmatch(path):
            return False
        return not self.within or any(_lies_in(path, folder) for folder in self.within)


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


INDUCTOR = RootKind(
    name="inductor",
    resolve=cache_folders.inductor,
    left_out=_leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN), *_inductor_leftovers()),
    timings=re.compile(_TIMINGS),
)
HEADERS = RootKind(
    name="inductor-headers",
    resolve=cache_folders.inductor_headers,
    left_out=_leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN)),
    layout=re.compile(r"[^/]+\.h"),
)
"""The text of the headers that Inductor precompiles, without what its compiler makes of them."""

FULL_HEADERS = replace(HEADERS, layout=re.compile(r"[^/]+\.h(?:\.gch)?"))
"""The headers with what gcc made of them, about 150 MB each."""

TRITON = RootKind(
    name="triton",
    resolve=cache_folders.triton,
    left_out=_leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN)),
    # <hash of the kernel>/<file>: 52 characters of base32 since Triton 3.0, 64 hex digits before.
    layout=re.compile(r"[A-Za-z0-9_=-]{32,}/[^/]+"),
)

_KERNELS = r"cache/[^/]+"
"""The kernel folders of DeepGEMM."""
_DEEP_GEMM_LEFT_OUT = (
    "tmp",
    # DeepJIT takes the file `.committed` for the sign that a kernel is whole.
    _named(*_LOCKS, *_TEMPORARY, r"\.(?!committed$)[^/]*"),
)
VLLM = RootKind(
    name="vllm",
    resolve=cache_folders.vllm,
    left_out=_leaving_out(
        _named(*_LOCKS, *_TEMPORARY, r"\.(?!committed$)[^/]*"),
        *_inductor_leftovers(r"torch_compile_cache/(?:.*/)?inductor_cache/"),
        "deep_gemm/tmp",
        r"rocm_segmented_attention/tmp[^/]*",
    ),
    within=(
        "torch_compile_cache",
        "deep_gemm",
        "flashinfer_autotune_cache",
        "rocm_segmented_attention",
    ),
    # Beside the graphs of a model vLLM keeps the list of them, and fails when one is not there
    # (vllm/compilation/backends.py, CompilerManager.load).
    bundles=re.compile(
        rf"deep_gemm/{_KERNELS}"
        r"|torch_compile_cache/[0-9a-f]+/rank_[^/]*/(?!inductor_cache(?:/|$))[^/]+"
    ),
    timings=re.compile(rf"torch_compile_cache/(?:.*/)?inductor_cache/{_TIMINGS}", re.DOTALL),
)
"""Its compile caches. The rest is models, logs, and what was measured of one machine's GPUs."""

SGLANG = RootKind(
    name="sglang",
    resolve=cache_folders.sglang,
    left_out=_leaving_out(
        _named(*_LOCKS, *_TEMPORARY, r"\.(?!(?:cache|committed|ninja_(?:log|deps))(?:/|$))[^/]*"),
        *_inductor_leftovers("inductor/"),
        *_inductor_leftovers(r"torch_compile_cache/(?:.*/)?inductor_cache/"),
        *(rf"\.cache/flashinfer/{form}" for form in _FLASHINFER_LEFT_OUT),
        "deep_gemm/tmp",
        *(f"tilelang/{form}" for form in _TILELANG_LEFT_OUT),
    ),
    within=(
        ".cache/flashinfer",
        "cute_aot",
        "deep_gemm",
        "flashinfer",
        "inductor",
        "tilelang",
        "torch_compile_cache",
        "triton",
    ),
    keeps_times=True,
    bundles=re.compile(f"deep_gemm/{_KERNELS}|tilelang/{_TILELANG_TUNED}"),
    timings=re.compile(
        rf"(?:inductor|torch_compile_cache/(?:.*/)?inductor_cache)/{_TIMINGS}", re.DOTALL
    ),
)
"""The one folder to which it sends the compilers that it uses (sglang/srt/environ.py). The driver's
own cache, nv, is not among them: its files cannot be united one by one."""

SGLANG_JIT = RootKind(name="sglang_jit", resolve=cache_folders.sglang_jit)
"""The kernels that it compiles itself. By default they lie in its one folder, and when that is
elsewhere they do not go with it."""

FLASHINFER = RootKind(
    name="flashinfer",
    resolve=cache_folders.flashinfer,
    left_out=_leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN_BUT_NINJAS), *_FLASHINFER_LEFT_OUT),
    # ninja compares times, to the nanosecond, and builds everything again that seems older than
    # its sources or younger than what its log says.
    keeps_times=True,
)
DEEP_GEMM = RootKind(
    name="deep_gemm",
    resolve=cache_folders.deep_gemm,
    left_out=_leaving_out(*_DEEP_GEMM_LEFT_OUT),
    within=("cache",),
    # kernel.<name>.<hash>
    layout=re.compile(r"cache/kernel\.[^/]+\.[^/]+/[^/]+"),
    bundles=re.compile(_KERNELS),
)
DEEP_JIT = replace(
    DEEP_GEMM,
    name="deep_jit",
    resolve=cache_folders.deep_jit,
    # <name>.<hash>, without further dots: both may lie in the one folder that the user chose.
    layout=re.compile(r"cache/[^/.]+\.[^/.]+/[^/]+"),
)
TILELANG = RootKind(
    name="tilelang",
    resolve=cache_folders.tilelang,
    left_out=_leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN), *_TILELANG_LEFT_OUT),
    bundles=re.compile(_TILELANG_TUNED),
)
CUTE_DSL = RootKind(
    name="cute_dsl",
    resolve=cache_folders.cute_dsl,
    left_out=_leaving_out(_named(*_LOCKS, *_TEMPORARY, _HIDDEN)),
)

ROOT_KINDS = (
    INDUCTOR,
    HEADERS,
    TRITON,
    VLLM,
    SGLANG,
    SGLANG_JIT,
    FLASHINFER,
    DEEP_GEMM,
    DEEP_JIT,
    TILELANG,
    CUTE_DSL,
)
"""The table."""


def user_kind(name: str, folder: str) -> RootKind:
    """A root that the table does not know: everything in it but locks and temporary files."""
    return RootKind(name, lambda _: folder, keeps_times=True, is_users=True)
