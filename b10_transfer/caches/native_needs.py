"""The needs of native code beyond the CPU and the C library, and whether a host meets them.

A kernel from a newer compiler needs a newer C++ runtime, or another OpenMP library; a compiler that
finds it in its cache loads it, and fails. So the libraries and the versions of their symbols are
part of the host requirement, as words after the hash of the CPU:

    libgomp.so.1 libstdc++.so.6(CXXABI_1.3.9,GLIBCXX_3.4.21)

No library is loaded to find out: they are searched as the dynamic linker would, and read.
"""

from __future__ import annotations

import glob
import os
import re
import struct
import sys
from typing import TYPE_CHECKING

from b10_store import REQUIREMENT_LIMIT
from b10_transfer.caches.elf_needs import Dynamic, read_dynamic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

_KNOWN = re.compile(
    r"ld(?:-linux.*|64)?\.so.*"
    r"|lib(?:c|m|pthread|dl|rt|util|resolv|anl|mvec|BrokenLocale)\.(?:so|musl).*"
    r"|lib(?:torch|c10|shm|caffe2|python|triton).*"
    r"|lib(?:cuda|cudart|cublas|cudnn|cufft|cufile|cupti|curand|cusolver|cusparse|nccl|nv)[^/]*"
    r"|lib(?:amd|hip|hsa|roc|rccl|MIOpen|ze_loader|sycl|OpenCL)[^/]*"
)
"""Libraries that the environment key covers: those of C, Python, torch and the GPU's vendor, which
torch finds by itself."""

_NEED = re.compile(r"([^() ]+\.so[^() ]*)(?:\(([^() ]*)\))?")
_VERSION = re.compile(r"(.*?)(\d+(?:\.\d+)*)")
_LONGEST_NEED = 512
"""The pattern's time grows with the square of the length, and the text may be hostile."""
_MOST_NEEDS = 32
"""How many needs of a library are checked; real ones have a handful."""
_MOST_ANSWERS = 1024
"""How many different needs one operation checks: a manifest may name millions."""
_TOO_MUCH = "more-than-can-be-told"
"""A requirement that no host meets; it replaces one that is too long for a manifest."""
_INCLUDES = 64
_NATIVE_BITS = 8 * struct.calcsize("P")


def needs_of(location: str, hosts: HostLibraries) -> str:
    """Return what a library needs of a host, in words of a host requirement; "" for nothing.

    Versions of one family are cumulative, so the newest stands for all. A library is left out when
    other hosts could not find it in the way that this host does.
    """
    dynamic = read_dynamic(location) if sys.platform == "linux" else None
    if dynamic is None:
        return ""
    needs: list[str] = []
    names = sorted({*dynamic.needed, *dynamic.wants})
    unknown = [name for name in names if not _KNOWN.fullmatch(os.path.basename(name))]
    for name in unknown[:_MOST_NEEDS]:
        if not _NEED.fullmatch(name):
            continue
        where = hosts.place_of(name, _own_folders(dynamic, location))
        if where:
            versions = ",".join(sorted(_newest(dynamic.wants.get(name, ()))))
            needs.append(f"{where}({versions})" if versions else where)
    return " ".join(needs)


def split_requirement(requirement: str) -> tuple[str, str]:
    """Split a host requirement into the hash of CPU and C library, and the needs."""
    first, _, rest = requirement.partition(" ")
    return (first, rest) if ".so" not in first else ("", requirement)


def join_requirement(host: str, needs: str) -> str:
    """Return the host requirement that combines both."""
    joined = f"{host} {needs}" if host and needs else host or needs
    return joined if len(joined.encode()) <= REQUIREMENT_LIMIT else _TOO_MUCH


def united_needs(needs: Iterable[str]) -> str:
    """Return the combined needs of some files."""
    return " ".join(sorted({need for text in needs for need in text.split()}))


class HostLibraries:
    """The shared libraries of this host, each looked for and read once."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Look at nothing yet.

        Args:
            variables: the environment variables of the process that compiles.
        """
        self._variables = variables
        self._folders: list[str] | None = None
        self._loaded: dict[str, str] | None = None
        self._found: dict[str, Dynamic | None] = {}
        self._answers: dict[str, str] = {}

    def lacks(self, needs: str) -> str:
        """Return the first need that this host does not meet; "" when it meets all.

        After a thousand different needs it meets none; what is not placed is compiled.
        """
        for need in needs.split():
            if need not in self._answers:
                if len(self._answers) >= _MOST_ANSWERS:
                    return need[:_LONGEST_NEED]
                self._answers[need] = self._lack_of(need)
            if self._answers[need]:
                return self._answers[need]
        return ""

    def _lack_of(self, need: str) -> str:
        match = _NEED.fullmatch(need) if len(need) <= _LONGEST_NEED else None
        if match is None:
            return need[:_LONGEST_NEED]  # of a later release
        name, versions = match[1], match[2]
        library = self._find(name)
        if library is None:
            return name
        missing = {version for version in (versions or "").split(",") if version} - library.defines
        return f"{min(missing)} of {name}" if missing else ""

    def place_of(self, name: str, own_folders: Iterable[str]) -> str:
        """Return what other hosts look for: the name, a path in the library's folders, or ""."""
        if self._find(name) is not None:
            return name
        for folder in own_folders:
            path = os.path.join(folder, name)
            if _NEED.fullmatch(path) and self._find(path) is not None:
                return path
        return ""

    def _find(self, name: str) -> Dynamic | None:
        if name not in self._found:
            candidates = (_read_fitting(path) for path in self._candidates(name))
            self._found[name] = next((item for item in candidates if item is not None), None)
        return self._found[name]

    def _candidates(self, name: str) -> Iterator[str]:
        if "/" in name:
            yield name
            return
        if self._loaded is None:
            self._loaded = _loaded_libraries()
        if name in self._loaded:
            yield self._loaded[name]  # a loaded library is what the name stands for
            return
        if self._folders is None:
            self._folders = list(_folders(self._variables))
        yield from (os.path.join(folder, name) for folder in self._folders)


def _read_fitting(path: str) -> Dynamic | None:
    library = read_dynamic(path)
    return library if library is not None and library.bits == _NATIVE_BITS else None


def _own_folders(dynamic: Dynamic, location: str) -> Iterator[str]:
    """Yield the folders that a library names itself, except those relative to itself."""
    for folder in dynamic.folders:
        if os.path.isabs(folder) and folder != os.path.dirname(location):
            yield folder


def _newest(versions: Collection[str]) -> set[str]:
    newest: dict[str, tuple[tuple[int, ...], str]] = {}
    for version in versions:
        match = _VERSION.fullmatch(version)
        family = match[1] if match else version
        numbers = tuple(map(int, match[2].split("."))) if match else ()
        newest[family] = max(newest.get(family, ((), version)), (numbers, version))
    return {version for _, version in newest.values() if _NEED.fullmatch(f"x.so({version})")}


def _loaded_libraries() -> dict[str, str]:
    """Return the libraries that this process has loaded, by name."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
            paths = {line.rstrip("\n").partition("/")[2] for line in lines if ".so" in line}
    except OSError:
        return {}
    return {os.path.basename(path): f"/{path}" for path in paths}


def _folders(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the folders that the dynamic linker searches, and those of a conda interpreter."""
    yield from (part for part in variables.get("LD_LIBRARY_PATH", "").split(":") if part)
    yield from (os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix))
    yield from _configured_folders("/etc/ld.so.conf", set())
    for folder in ("/lib64", "/usr/lib64", "/lib", "/usr/lib"):
        yield folder
        yield from sorted(glob.glob(f"{folder}/*-linux-gnu*"))


def _configured_folders(path: str, seen: set[str]) -> Iterator[str]:
    if path in seen or len(seen) >= _INCLUDES:
        return
    seen.add(path)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except OSError:
        return
    for line in lines:
        if line.startswith("include "):
            pattern = os.path.join(os.path.dirname(path), line.removeprefix("include ").strip())
            for included in sorted(glob.glob(pattern)):
                yield from _configured_folders(included, seen)
        elif line:
            yield line
