"""Find where each compiler keeps its cache, in the same way as the compiler itself.

Every function takes the environment variables of the process that compiles, and returns an absolute
path, whether or not it exists.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING

from b10_transfer.paths import is_below

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {
    "inductor": ("TORCHINDUCTOR_CACHE_DIR",),
    "inductor-headers": ("TMPDIR",),
    "triton": ("TRITON_CACHE_DIR", "TRITON_HOME"),
    "vllm": ("VLLM_CACHE_ROOT", "XDG_CACHE_HOME"),
    "sglang": ("SGLANG_CACHE_DIR", "SGL_CACHE_DIR"),
    "sglang_jit": ("SGLANG_JIT_CACHE_DIR", "SGL_JIT_CACHE_DIR"),
    "flashinfer": ("FLASHINFER_WORKSPACE_BASE",),
    "deep_gemm": ("DG_JIT_CACHE_DIR",),
    "deep_jit": ("DJ_JIT_CACHE_DIR", "DG_JIT_CACHE_DIR"),
    "tilelang": ("TILELANG_CACHE_DIR",),
    "cute_dsl": ("CUTE_DSL_CACHE_DIR", "TMPDIR"),
}
"""The environment variables that place each cache root; the one to set comes first."""


def inductor(variables: Mapping[str, str]) -> str:
    """As torch/_inductor/runtime/cache_dir_utils.py, cache_dir().

    torch makes a relative path absolute, takes "" for the working folder, and writes the result
    back to the variable. So a save may see another value than the load before, and the same folder.
    """
    chosen = variables.get("TORCHINDUCTOR_CACHE_DIR")
    return os.path.abspath(default_inductor(variables) if chosen is None else chosen)


def default_inductor(variables: Mapping[str, str]) -> str:
    """As torch/_inductor/runtime/cache_dir_utils.py, default_cache_dir()."""
    user = re.sub(r'[\\/:*?"<>|]', "_", _user_name(variables))
    return os.path.join(_temporary_folder(variables), "torchinductor_" + user)


def inductor_headers(variables: Mapping[str, str]) -> str:
    """As torch/_inductor/codecache.py, _HEADER_DIR: whatever TORCHINDUCTOR_CACHE_DIR says."""
    return os.path.join(default_inductor(variables), "precompiled_headers")


def triton(variables: Mapping[str, str]) -> str:
    """As triton/knobs.py, cache_knobs.

    When the user did not set TRITON_CACHE_DIR, Inductor sets it, only for itself, to a folder of
    its own root (torch/_inductor/runtime/triton_heuristics.py). That value does not count here.
    """
    chosen = variables.get("TRITON_CACHE_DIR")
    if chosen and not is_below(os.path.abspath(chosen), inductor(variables)):
        return os.path.abspath(chosen)
    home = variables.get("TRITON_HOME", _expand("~", variables))
    return os.path.abspath(os.path.join(home, ".triton", "cache"))


def vllm(variables: Mapping[str, str]) -> str:
    """As vllm/envs.py, VLLM_CACHE_ROOT and get_default_cache_root()."""
    caches = variables.get("XDG_CACHE_HOME", _expand("~/.cache", variables))
    root = variables.get("VLLM_CACHE_ROOT", os.path.join(caches, "vllm"))
    return os.path.abspath(_expand(root, variables))


def sglang(variables: Mapping[str, str]) -> str:
    """As sglang/srt/environ.py, SGLANG_CACHE_DIR; it does not look at XDG_CACHE_HOME.

    SGLang gives each SGLANG_ variable the value of the older SGL_ variable, if that is set
    (_handle_deprecated_envs).
    """
    root = variables.get("SGL_CACHE_DIR", variables.get("SGLANG_CACHE_DIR", "~/.cache/sglang"))
    return os.path.abspath(_expand(root, variables))


def sglang_jit(variables: Mapping[str, str]) -> str:
    """As sglang/kernels/jit/utils/compile/cache.py, cache_root(): not below SGLANG_CACHE_DIR."""
    chosen = variables.get("SGL_JIT_CACHE_DIR", variables.get("SGLANG_JIT_CACHE_DIR", ""))
    return os.path.abspath(_expand(chosen or "~/.cache/sglang/jit", variables))


def flashinfer(variables: Mapping[str, str]) -> str:
    """As flashinfer/jit/env.py, FLASHINFER_CACHE_DIR."""
    base = variables.get("FLASHINFER_WORKSPACE_BASE", _expand("~", variables))
    return os.path.abspath(os.path.join(base, ".cache", "flashinfer"))


def deep_gemm(variables: Mapping[str, str]) -> str:
    """As DeepGEMM's csrc/jit/compiler.hpp, until it moved its compiler to DeepJIT."""
    chosen = variables.get("DG_JIT_CACHE_DIR")
    return os.path.abspath(chosen or _expand("~/.deep_gemm", variables))


def deep_jit(variables: Mapping[str, str]) -> str:
    """As DeepJIT's cache/disk.hpp, which today's DeepGEMM compiles with.

    DeepJIT writes to the first folder of a list, and only reads further ones, after colons. It
    refuses an empty name, and then has no cache.
    """
    chosen = variables.get("DG_JIT_CACHE_DIR", variables.get("DJ_JIT_CACHE_DIR", ""))
    first = chosen.partition(":")[0]
    return os.path.abspath(first or _expand("~/.dj", variables))


def tilelang(variables: Mapping[str, str]) -> str:
    """As tilelang/env.py, TILELANG_CACHE_DIR; with an empty value it fails, and has no cache."""
    chosen = variables.get("TILELANG_CACHE_DIR")
    return os.path.abspath(chosen or _expand("~/.tilelang/cache", variables))


def cute_dsl(variables: Mapping[str, str]) -> str:
    """As cutlass/base_dsl/cache_helpers.py, get_default_generated_ir_path().

    TMPDIR counts whether or not it can be used; the name of the logged-in user does not count.
    """
    chosen = variables.get("CUTE_DSL_CACHE_DIR")
    if chosen:
        return os.path.abspath(chosen)
    temporary = variables.get("TMPDIR", _temporary_folder(variables))
    user = variables.get("USER") or variables.get("USERNAME") or _account_name()
    return os.path.abspath(os.path.join(temporary, user, "cutlass_python_cache"))


def as_seen_from(folder: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables whose relative cache folders lie below `folder`.

    A path in a variable of another process is relative to that process's working folder.
    """
    placing = {name for names in VARIABLES.values() for name in names}
    seen = dict(variables)
    for name in placing & variables.keys():
        value = variables[name]
        # Only torch takes "" for the working folder, and only some compilers expand "~".
        if not value.startswith("~") and (value or name == "TORCHINDUCTOR_CACHE_DIR"):
            seen[name] = os.path.join(folder, value)
    return seen


def _user_name(variables: Mapping[str, str]) -> str:
    """As the standard library's getpass.getuser(); when it fails, as Inductor."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if variables.get(name):
            return variables[name]
    getuid = getattr(os, "getuid", None)
    return _account_name() or (f"uid_{getuid()}" if callable(getuid) else "unknown_user")


def _temporary_folder(variables: Mapping[str, str]) -> str:
    """As the standard library's tempfile.gettempdir(), which tries the same variables first."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        folder = variables.get(name)
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return os.path.abspath(folder)
    return tempfile.gettempdir()


def _account_name() -> str:
    """Return the user's name in the system's list of users, or ""."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows, or a user without an entry
        return ""


def _expand(path: str, variables: Mapping[str, str]) -> str:
    """As os.path.expanduser() in a process with these environment variables."""
    if path != "~" and not path.startswith("~/"):
        return os.path.expanduser(path)
    try:
        import pwd

        home = variables["HOME"] if "HOME" in variables else pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        return os.path.expanduser(path)
    return home.rstrip("/") + path[1:] or "/"
