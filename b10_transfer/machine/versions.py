"""Facts of this process's libraries and settings, each read from a file or one cheap system call.

Nothing here imports torch or Triton, touches a GPU or starts a process: a load runs before the
server that it serves has imported anything, and importing torch alone takes seconds. A fact that
cannot be read is ``unknown`` (it exists, but was not found) or ``none`` (this machine has no such
thing), and its source says why. A file that exists but cannot be read at the moment (no descriptor,
no memory, an I/O error) raises OSError: without it the key would be another machine's.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import importlib.machinery
import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.python_source import parse_python

if TYPE_CHECKING:
    from collections.abc import Mapping

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP})
_DESCRIPTORS = 16
"""How many descriptors must be free: for an import, a device and a library."""

UNKNOWN = "unknown"
NONE = "none"

# The distributions that install the import package `triton`. Its own `__version__` lacks the
# revision that a nightly's distribution carries (3.3.0 instead of 3.3.0+git96316ce5).
_TRITON_DISTRIBUTION = re.compile(
    r"(?:pytorch_)?triton(?:_rocm|_xpu|_windows)?-(?P<version>[^-]+)\.dist-info"
)


class Reading(NamedTuple):
    """A value as text, and where it was read, or why it could not be."""

    value: str
    source: str


class TorchRelease(NamedTuple):
    """The installed torch, as its own version file describes it."""

    version: Reading
    git_version: Reading
    cuda: str | None
    """The CUDA version it was built for; None for a build without CUDA."""
    hip: str | None
    """The HIP version it was built for; None for a build without ROCm."""
    folder: Path | None
    """The package's folder; None without torch."""


def require_descriptors() -> None:
    """Raise OSError when this process can open hardly any more files.

    Code that reads files on our behalf, such as the import system and NVML, would then report that
    they do not exist.
    """
    with contextlib.ExitStack() as opened:
        for _ in range(_DESCRIPTORS):
            opened.enter_context(open(os.devnull, "rb", buffering=0))


def raise_unless_absent(error: Exception) -> None:
    """Raise an error unless it means that the file is absent: a key without it would be wrong."""
    # An error without a number comes from a library, such as a driver's, not from a file.
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _ABSENT:
        raise error


def torch_release() -> TorchRelease:
    """Return the torch that ``import torch`` would import, or has imported."""
    folder = _package_folder("torch")
    if folder is None:
        absent = Reading(NONE, "torch is not installed")
        return TorchRelease(absent, absent, None, None, None)
    return torch_release_in(folder)


def torch_release_in(folder: Path) -> TorchRelease:
    """Return the torch in `folder`, from its generated ``version.py`` (read as text, never run)."""
    try:
        assigned = _assigned_strings((folder / "version.py").read_text(encoding="utf-8"))
        source = "torch/version.py"
    except (OSError, ValueError, SyntaxError) as error:
        raise_unless_absent(error)
        assigned, source = {}, f"torch/version.py cannot be read: {error}"

    def reading(name: str) -> Reading:
        return Reading(assigned.get(name, UNKNOWN), source)

    return TorchRelease(
        version=reading("__version__"),
        git_version=reading("git_version"),
        cuda=assigned.get("cuda"),
        hip=assigned.get("hip"),
        folder=folder,
    )


def triton_version() -> Reading:
    """Return the version of the Triton that ``import triton`` would import."""
    folder = _package_folder("triton")
    if folder is None:
        return Reading(NONE, "triton is not installed")
    return triton_version_in(folder)


def triton_version_in(folder: Path) -> Reading:
    """Return the version of the Triton package in `folder`.

    The name of the distribution's folder beside it holds what ``importlib.metadata`` would return;
    importing that takes longer than everything else here.
    """
    try:
        matches = (_TRITON_DISTRIBUTION.fullmatch(path.name) for path in folder.parent.iterdir())
        versions = {match["version"] for match in matches if match}
        if len(versions) == 1:
            return Reading(versions.pop(), "triton's .dist-info")
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        version = _assigned_strings(text).get("__version__", UNKNOWN)
    except (OSError, ValueError, SyntaxError) as error:
        raise_unless_absent(error)
        return Reading(UNKNOWN, f"triton cannot be read: {error}")
    return Reading(version, "triton/__init__.py")


def python_implementation() -> Reading:
    """CPython, PyPy, ..."""
    return Reading(platform.python_implementation(), "platform.python_implementation()")


def python_abi() -> Reading:
    """Return the ABI tag of extension modules: implementation, version and build variant."""
    abi = sysconfig.get_config_var("SOABI")
    if isinstance(abi, str) and abi:
        return Reading(abi, "sysconfig SOABI")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]  # Windows defines no SOABI
    return Reading(suffix.removesuffix(".pyd").removesuffix(".so").strip("."), "extension suffix")


def operating_system() -> Reading:
    """Linux, Darwin, Windows."""
    return Reading(platform.system() or UNKNOWN, "platform.system()")


def c_library() -> Reading:
    """Return name and version of the C library, such as ``glibc 2.36``."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):  # Windows, or a C library that is not glibc
        version = None
    if version:
        return Reading(version, "confstr CS_GNU_LIBC_VERSION")
    version = " ".join(platform.libc_ver()).strip()
    return Reading(version or UNKNOWN, "platform.libc_ver()")


def thread_count(variables: Mapping[str, str]) -> Reading:
    """Return how many threads torch is asked to use; without a request it may take fewer."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        first = variables.get(name, "").partition(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return Reading(str(int(first)), name)
    try:
        return Reading(str(len(os.sched_getaffinity(0))), "CPUs this process may run on")
    except (AttributeError, OSError):  # macOS, Windows
        return Reading(str(os.cpu_count() or UNKNOWN), "CPUs of this machine")


def site_packages(release: TorchRelease) -> Reading:
    """Return the folder torch is installed in, part of each C++ command line Inductor hashes."""
    if release.folder is None:
        return Reading(NONE, "torch is not installed")
    return Reading(str(release.folder.parent), "where torch was found")


def python_include() -> Reading:
    """Return the folder of Python's headers, part of each C++ command line Inductor hashes.

    It is that of the base interpreter, also in a virtual environment
    (torch/_inductor/cpp_builder.py, _get_python_related_args).
    """
    scheme = "nt" if sys.platform == "win32" else "posix_prefix"
    return Reading(sysconfig.get_path("include", scheme) or UNKNOWN, f"sysconfig {scheme}")


def cxx_compiler(variables: Mapping[str, str]) -> Reading:
    """Return the C++ compiler that Inductor would run (``torch/_inductor/config.py``, ``cpp.cxx``).

    Symbolic links are followed, since their end often names the version that the link hides.
    """
    default = "clang++" if sys.platform == "darwin" else "g++"
    name = variables.get("CXX", default)
    source = "CXX" if "CXX" in variables else "PATH"
    path = shutil.which(name, path=variables.get("PATH"))
    if path is None:
        return Reading(NONE, f"{source}: there is no {name!r} to run")
    return Reading(os.path.realpath(path), f"{source}: {name}")


def precompiled_headers(variables: Mapping[str, str]) -> Reading:
    """Return whether Inductor precompiles its C++ header, which is part of its own cache keys."""
    name = "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"
    if name in variables:
        return Reading("on" if variables[name] == "1" else "off", name)
    return Reading("on", "torch's default")


def _package_folder(name: str) -> Path | None:
    """Return the folder of a top-level package; this does not import it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: a module in sys.modules without a spec
        return None
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def _assigned_strings(source: str) -> dict[str, str]:
    """Return the module-level names that are assigned a plain string."""
    found: dict[str, str] = {}
    for node in ast.iter_child_nodes(parse_python(source)):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= {t.id: node.value.value for t in targets if isinstance(t, ast.Name)}
    return found
