"""The table of cache roots: their compilers, their folders, and which files are artifacts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from b10_transfer.caches import folders as cache_folders
from b10_transfer.caches.forms import Form, Leftovers
from b10_transfer.caches.layouts import (
    ANY,
    EVERYTHING,
    HASH,
    HASHED,
    PAIR,
    Layout,
    below,
    layout_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_LOCKS = (r"[^/]*\.lock", "lock", "locks")
_TEMPORARY = (r"[^/]*\.tmp(?:\.\d+)?", r"tmp\.[^/]*", r"[^/]*\.part", r"\.staging[^/]*")
_HIDDEN = r"\.[^/]*"
_HIDDEN_BUT_NINJAS = r"\.(?!ninja_(?:log|deps)$)[^/]*"
"""ninja builds everything again when its log is missing."""

_EXPORT = "c[a-z2-7]{51}"
"""Where AOTInductor builds an exported model, with its weights, and never looks again
(torch/_inductor/compile_fx.py, compile_fx_aot)."""

_INDUCTOR_AT_TOP = (
    _EXPORT,
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
# Object files are intermediate results, except those from which Inductor links a split C++ wrapper
# (torch/_inductor/codecache.py, _worker_compile_cpp) and those of CuTe DSL.
_INDUCTOR_OBJECT = r"(?!cutedsl_compile_cache/)(?:.*/)?[^/]*(?<!\.main)(?<!\.optimized)\.o"


def _inductor_leftovers(at: str) -> tuple[str, ...]:
    """Return the forms of files that are no artifacts, in a folder of Inductor at `at`."""
    top, anywhere = "|".join(_INDUCTOR_AT_TOP), "|".join(_INDUCTOR_ANYWHERE)
    return (f"{at}(?:{top})", f"{at}(?:.*/)?(?:{anywhere})")


_LOCK_FILE = r"[^\x2f]+\.lock"
_TEMPORARY_FILE = r"\.\d+\.\d+\.tmp|tmp[a-z0-9_]{8}[^\x2f]*"
"""The temporary names of torch's write_atomic() and of Python's tempfile."""

_TRITON_KERNEL = "(?:[A-Z0-9]{52}|[0-9a-f]{64})"
"""A kernel's folder: 52 characters of base32 since Triton 3.0, 64 hex digits before."""

_TRITON_UNFINISHED = r"tmp\.[^\x2f]+/**"
_TRITON_FORMS = (
    f"{_TRITON_KERNEL}/{ANY}",
    f"{_TRITON_KERNEL}/{_TRITON_UNFINISHED}",
    _TRITON_UNFINISHED,
)
_HEADER_FORMS = (
    rf"[^\x2f]+\.h(?:\.gch)?|{_TEMPORARY_FILE}|[^\x2f]+\.tmp",
    f"locks/{_LOCK_FILE}",
)
_INDUCTOR_FORMS = (
    # <second and third character of a digest>/<digest><suffixes>, and a folder with such a name.
    f"{PAIR}/(?:{HASHED}|{_TEMPORARY_FILE}|kernel_information\\.json)",
    f"{PAIR}/{HASHED}/**",
    rf"{PAIR}/c{PAIR}[a-z0-9]*\.(?:(?:main|optimized)\.)?(?:py|cpp|so|o)",
    f"{HASHED}/**",  # AOTInductor's packages
    "fxgraph/**",
    "aotautograd/**",
    f"dynamo/code_state_{ANY}",
    f"dynamo/{HASH}/**",
    f"cache/(?:{HASHED}|{_TEMPORARY_FILE})",
    f"cache/{ANY}/(?:{HASHED}|{_TEMPORARY_FILE})",
    f"cache/{ANY}/locks/{_LOCK_FILE}",
    *below("triton", _TRITON_FORMS),
    *below(f"triton/{ANY}", _TRITON_FORMS),
    "cutedsl_compile_cache/**",
    f"halide-runtime-{ANY}/**",
    rf"configs_{ANY}\.json|compiled_cache\.db",  # CUTLASS
    rf"memoizer_cache\.(?:json|lock)|{_TEMPORARY_FILE}",
    f"locks/(?:{_LOCK_FILE}|{HASHED})",
    "(?:aoti_eager|autoheuristic|compiler_bisect|torch_cutlass|unhashed_kernel_inputs)/**",
    *below("precompiled_headers", _HEADER_FORMS),
)
_NOTHING = Form(r"(?!)")
_VERSION = r"\d+\.\d+[^\x2f]*"
_FLASHINFER_FORMS = (
    rf"{_VERSION}/[0-9][0-9a-z_.+-]*/**",  # by version and GPUs
    "[0-9][0-9a-z_]*/(?:cached_ops|generated)/**",  # only by GPUs, until 0.6
    "autotune/**",
    "cubins/**",
    r"tmp/[^\x2f]+\.(?:cu|inc|lock|ninja|o|so)",
    r"flashinfer_jit\.log",
)
_FLASHINFER_LEFTOVERS = (
    "cubins",  # downloads
    r"(?:.*/)?flashinfer_jit\.log",
    "tmp",
    r"(?:.*/)?cached_ops/tmp",
)
_TILELANG_FORMS = (
    rf"\d+\.{_VERSION}/**",
    f"{HASH}/**",
    f"(?:autotuner|kernels)/{HASH}/**",
    r"tmp/\d+_[^\x2f]+",
    "py-cache/**",
)
_TILELANG_LEFTOVERS = (
    "tmp",
    "py-cache",  # for tracebacks; each process writes its own
)
_TIMINGS = r"cache/[0-9a-f]{64}"
_TILELANG_TUNED = r"(?:.*/)?autotuner/[^/]+"

# The first such folder on the way. With `.*` before and behind it, the time to find out that a path
# has none of these forms would grow with the square of its length.
_VLLM_INDUCTOR = r"torch_compile_cache/(?:(?!inductor_cache/)[^/]+/)*inductor_cache/"
"""Where vLLM lets Inductor keep its cache, below its own root."""

_PLAIN_LEFTOVERS = Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN_BUT_NINJAS))


@dataclass(frozen=True, slots=True)
class RootKind:
    """A row of the table of cache roots.

    Attributes:
        name: as stored in manifests.
        resolve: returns where its compiler keeps it, given the environment variables.
        leftovers: the files and folders below it that hold nothing to save.
        is_shared: whether its program keeps other things there too, such as models.
        layout: the forms of the paths that its compiler writes; all others are foreign.
        unknown: the paths in folders that only its compiler makes, whatever the file's name. If
            nothing foreign is in the root, such files are saved too, as those of a later version.
        keeps_times: whether the modification times of its files matter to its compiler.
        bundles: the folders whose files are useful only together: their compiler would take an
            incomplete folder for complete, and fail. Triton's kernels are such folders in any root.
        timings: the paths of Inductor's timings, which are merged with those of other hosts.
        exports: the folders of models that its compiler built for export.
        is_users: whether it is a folder of the user, which may hold other things.
    """

    name: str
    resolve: Callable[[Mapping[str, str]], str]
    leftovers: Leftovers = _PLAIN_LEFTOVERS
    is_shared: bool = False
    layout: Layout = EVERYTHING
    unknown: Form = _NOTHING
    keeps_times: bool = False
    bundles: Form = _NOTHING
    timings: Form = _NOTHING
    exports: Form = _NOTHING
    is_users: bool = False

    def enters(self, path: str) -> bool:
        """Return whether there may be artifacts in a folder, given its path below the root."""
        return self.layout.has_folder(path) and not self.leftovers.has(path)

    def takes(self, path: str) -> bool:
        """Return whether a file is an artifact, by its path below the root."""
        return self.layout.has_file(path) and not self.leftovers.has(path)


INDUCTOR = RootKind(
    name="inductor",
    resolve=cache_folders.inductor,
    leftovers=Leftovers(
        (*_LOCKS, *_TEMPORARY, _HIDDEN, *_INDUCTOR_ANYWHERE),
        *_INDUCTOR_AT_TOP,
        objects=_INDUCTOR_OBJECT,
    ),
    layout=layout_of(*_INDUCTOR_FORMS),
    unknown=Form("[a-z0-9]{2}/[^/]+"),
    timings=Form(_TIMINGS),
    exports=Form(_EXPORT),
)
HEADERS = RootKind(
    name="inductor-headers",
    resolve=cache_folders.inductor_headers,
    leftovers=Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN, r"[^/]+\.gch")),
    layout=layout_of(*_HEADER_FORMS),
)
"""The texts of the headers that Inductor precompiles, without the precompiled ones."""

FULL_HEADERS = replace(HEADERS, leftovers=Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN)))
"""The texts with the headers that gcc precompiled, about 150 MB each."""

TRITON = RootKind(
    name="triton",
    resolve=cache_folders.triton,
    leftovers=Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN)),
    layout=layout_of(*_TRITON_FORMS),
)

_KERNELS = r"cache/[^/]+"
"""The kernel folders of DeepGEMM."""
_DEEP_GEMM_FORMS = (
    rf"cache/kernel\.[^\x2f]+\.[^\x2f]+/{ANY}",
    # DeepJIT's names have no further dots; both may share one folder that the user chose.
    rf"cache/[^\x2f.]+\.[0-9a-f]{{4,}}/{ANY}",
    r"tmp/(?:\d+-[0-9a-f-]+|[0-9a-f-]{36})/**",
    f"locks/{_LOCK_FILE}",
)
# For DeepJIT the file `.committed` is the sign that a kernel is complete.
_DEEP_GEMM_LEFTOVERS = (*_LOCKS, *_TEMPORARY, r"\.(?!committed$)[^/]*")
VLLM = RootKind(
    name="vllm",
    resolve=cache_folders.vllm,
    leftovers=Leftovers(
        (*_LOCKS, *_TEMPORARY, r"\.(?!committed$)[^/]*"),
        *_inductor_leftovers(_VLLM_INDUCTOR),
        "deep_gemm/tmp",
        r"rocm_segmented_attention/tmp[^/]*",
        objects=_VLLM_INDUCTOR + _INDUCTOR_OBJECT,
    ),
    layout=layout_of(
        f"torch_compile_cache/{ANY}/**",
        *below("deep_gemm", _DEEP_GEMM_FORMS),
        "flashinfer_autotune_cache/**",
        "rocm_segmented_attention/**",
    ),
    is_shared=True,
    # vLLM keeps a list of a model's graphs beside them, and fails when one is missing
    # (vllm/compilation/backends.py, CompilerManager.load).
    bundles=Form(
        rf"deep_gemm/{_KERNELS}"
        r"|torch_compile_cache/[0-9a-f]+/rank_[^/]*/(?!inductor_cache(?:/|$))[^/]+"
    ),
    timings=Form(f"{_VLLM_INDUCTOR}{_TIMINGS}"),
)
"""The compile caches. The rest is models, logs, and measurements of one machine's GPUs."""

SGLANG = RootKind(
    name="sglang",
    resolve=cache_folders.sglang,
    leftovers=Leftovers(
        (*_LOCKS, *_TEMPORARY, r"\.(?!(?:cache|committed|ninja_(?:log|deps))(?:/|$))[^/]*"),
        *_inductor_leftovers("inductor/"),
        *_inductor_leftovers(_VLLM_INDUCTOR),
        *(rf"\.cache/flashinfer/{form}" for form in _FLASHINFER_LEFTOVERS),
        "deep_gemm/tmp",
        *(f"tilelang/{form}" for form in _TILELANG_LEFTOVERS),
        objects=f"(?:inductor/|{_VLLM_INDUCTOR}){_INDUCTOR_OBJECT}",
    ),
    layout=layout_of(
        *below(r"\.cache/flashinfer", _FLASHINFER_FORMS),
        "cute_aot/**",
        *below("deep_gemm", _DEEP_GEMM_FORMS),
        "flashinfer/autotune/**",
        *below("inductor", _INDUCTOR_FORMS),
        *below("tilelang", _TILELANG_FORMS),
        f"torch_compile_cache/{ANY}/**",
        *below("triton", _TRITON_FORMS),
    ),
    is_shared=True,
    keeps_times=True,
    bundles=Form(f"deep_gemm/{_KERNELS}|tilelang/{_TILELANG_TUNED}"),
    timings=Form(f"(?:inductor/|{_VLLM_INDUCTOR}){_TIMINGS}"),
)
"""The folder to which it sends the compilers that it uses (sglang/srt/environ.py). The driver's own
cache, nv, is left out, since its files cannot be merged one by one."""

SGLANG_JIT = RootKind(
    name="sglang_jit",
    resolve=cache_folders.sglang_jit,
    layout=layout_of(f"{ANY}/{ANY}/build-[0-9a-f]{{16}}/**"),
)
"""The kernels that it compiles itself. By default they lie in that folder, but they stay there when
the folder is set elsewhere."""

FLASHINFER = RootKind(
    name="flashinfer",
    resolve=cache_folders.flashinfer,
    leftovers=Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN_BUT_NINJAS), *_FLASHINFER_LEFTOVERS),
    layout=layout_of(*_FLASHINFER_FORMS),
    # ninja compares times, to the nanosecond, and rebuilds everything that seems older than its
    # sources or newer than its log says.
    keeps_times=True,
)
DEEP_GEMM = RootKind(
    name="deep_gemm",
    resolve=cache_folders.deep_gemm,
    leftovers=Leftovers(_DEEP_GEMM_LEFTOVERS, "tmp"),
    layout=layout_of(_DEEP_GEMM_FORMS[0], *_DEEP_GEMM_FORMS[2:]),
    bundles=Form(_KERNELS),
)
DEEP_JIT = replace(
    DEEP_GEMM,
    name="deep_jit",
    resolve=cache_folders.deep_jit,
    layout=layout_of(*_DEEP_GEMM_FORMS[1:]),
)
TILELANG = RootKind(
    name="tilelang",
    resolve=cache_folders.tilelang,
    leftovers=Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN), *_TILELANG_LEFTOVERS),
    layout=layout_of(*_TILELANG_FORMS),
    bundles=Form(_TILELANG_TUNED),
)
CUTE_DSL = RootKind(
    name="cute_dsl",
    resolve=cache_folders.cute_dsl,
    leftovers=Leftovers((*_LOCKS, *_TEMPORARY, _HIDDEN)),
    layout=layout_of(
        f"cute_dsl_{ANY}|[^\\x2f]*[0-9a-f]{{32,}}[^\\x2f]*",
        "pyir_class_facts/**",
        r"tmp\.[^\x2f]+/**",
    ),
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
"""The table of cache roots."""


def user_kind(name: str, folder: str) -> RootKind:
    """Return the kind of a user's root: it takes everything but locks and temporary files."""
    return RootKind(name, lambda _: folder, keeps_times=True, is_users=True)
