"""The forms of compilers' files, by which a broken file is recognised.

After a power cut a file may be empty, full of zeros or cut short, with the right name and times.
Compilers fail on most such files, and so would every host that loads one. Nothing is run or
unpickled to find out.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import itertools
import pickletools
import re
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

from b10_store import JUDGED_LIMIT, UNITED_LIMIT
from b10_transfer.caches.relocation import is_group
from b10_transfer.foreign_json import parse_json, parse_object
from b10_transfer.python_source import parse_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_transfer.caches.kinds import RootKind

_ALL = JUDGED_LIMIT
# A pass over a source takes up to a hundred times its size in memory, and reading a literal five
# hundred times: a large planted file must not cost a model server that much.
_PARSED, _LITERAL = 1 << 20, 1 << 18
_OPCODES = 200_000
"""The number of opcodes of a pickle that are read, which takes a fraction of a second."""
_GRAPH_LISTS = ("vllm_compile_cache.py", "sglang_compile_cache.py")

_HASHED = re.compile(r"(?:.*/)?(?:c[a-z2-7]{51}(?:\.[^/]*)?|[A-Z2-7]{52}/[^/]+)", re.DOTALL)
"""A file that Inductor names by a SHA-256, or that Triton puts into a folder with such a name. A
user's own file hardly has such a name, and neither compiler writes an empty file."""

_KERNEL = re.compile(r"(?:.*/)?c[a-z2-7]{51}(?:\.main)?\.cpp", re.DOTALL)

_ENTRY = re.compile(r"(?:.*/)?(?:fxgraph|aotautograd)/.*/[a-z2-7]{51,52}", re.DOTALL)
"""A graph or an autograd entry, named by the SHA-256 of its content (torch/_inductor/codecache.py,
FxGraphCache._write_to_local_cache)."""

_OBJECTS = re.compile(r"(?:.*/)?(?:[A-Z2-7]{52}/[^/]+\.json|[^/]+\.autotune\.json)", re.DOTALL)
"""Triton's metadata of a kernel, and its timings; it fails on anything but a JSON object
(triton/compiler/compiler.py, CompiledKernel; triton/runtime/autotuner.py)."""

_PAIRS = ((b"(", b")"), (b"[", b"]"), (b"{", b"}"))


# What is quoted: a string or a comment as a whole, or, in a group, the rest of a source in which it
# is never closed. Each alternative begins with a character of its own: `re` looks for those alone,
# several times as fast as for alternatives that do not.
_PYTHON_QUOTED = re.compile(
    rb"""(?xs)
    " (?: ""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"{3}
        | (?!"")[^"\\\n]*(?:\\.[^"\\\n]*)*["\n] | (.*) )
    | ' (?: ''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'{3}
        | (?!'')[^'\\\n]*(?:\\.[^'\\\n]*)*['\n] | (.*) )
    | \#[^\n]*
    """
)
_CPP_QUOTED = re.compile(
    rb"""(?xs)
    / (?: /[^\n]* | \* (?: [^*]*\*+(?:[^/*][^*]*\*+)*/ | (.*) ) )
    | R" (?: (?P<word>[^()\\\s]{0,16})\(.*?\)(?P=word)" | ([^()\\\s]{0,16}\(.*) )
    | " (?: [^"\\\n]*(?:\\.[^"\\\n]*)*["\n] | (.*) )
    | ' (?: (?<=[0-9a-fA-F]') | [^'\\\n]*(?:\\.[^'\\\n]*)*['\n] | (.*) )  # or between digits
    """
)


class Form(NamedTuple):
    """The form of the files of one kind.

    Attributes:
        reason: the description of a broken file.
        holds: returns whether a file may be intact, given its path, its first bytes and its size.
        needs: how many first bytes that takes; only the beginning of a larger file is judged.
        is_known_by_hash: whether the form is certain only for files that a compiler named by a
            hash.
    """

    reason: str
    holds: Callable[[str, bytes, int], bool]
    needs: int = _ALL
    is_known_by_hash: bool = False


def is_graph_list(path: str) -> bool:
    """Return whether the artifact at `path` lists a model's graphs, which are unused without it."""
    return path.endswith(_GRAPH_LISTS) and path.rpartition("/")[2] in _GRAPH_LISTS


def check_of(kind: RootKind, path: str) -> FormCheck:
    """Return the check for the bytes of the artifact at `path` in a root of this kind."""
    return FormCheck(path, _form_of(kind, path))


class FormCheck:
    """A `ContentCheck` by the form of a file."""

    __slots__ = ("_form", "_has_content", "_kept", "_parts", "_path", "_size")

    def __init__(self, path: str, form: Form | None) -> None:
        """Look at nothing yet."""
        self._path = path
        self._form = form
        self._parts: list[bytes] = []
        self._kept = 0
        self._size = 0
        self._has_content = False

    def feed(self, data: bytes | memoryview) -> None:
        """See `ContentCheck.feed`."""
        self._size += len(data)
        if not self._has_content and data:
            self._has_content = bool(data[0]) or bool(bytes(data).strip(b"\0"))
        room = self._form.needs - self._kept if self._form is not None else 0
        if room > 0:
            part = bytes(data if len(data) <= room else data[:room])
            self._parts.append(part)
            self._kept += len(part)

    def flaw(self) -> str:
        """See `ContentCheck.flaw`."""
        form = self._form
        is_zeros = self._size > 0 and not self._has_content
        if form is None:
            return "nothing but zeros" if is_zeros else ""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if is_zeros or not form.holds(self._path, data, self._size):
            return form.reason
        return ""


def _form_of(kind: RootKind, path: str) -> Form | None:
    name = path.rpartition("/")[2]
    _, dot, suffix = name.rpartition(".")
    if not dot:
        return _form_of_entry(kind, path)
    if name in _GRAPH_LISTS:
        return _GRAPH_LIST
    form = _BY_SUFFIX.get(suffix)
    if form is None or is_group(name):  # a group is checked with its files
        return None
    if form.is_known_by_hash and _is_open(kind, path) and not _HASHED.fullmatch(path):
        return _OBJECT if _OBJECTS.fullmatch(path) else None
    return form


def _form_of_entry(kind: RootKind, path: str) -> Form | None:
    """Return the form of a file whose name has no suffix."""
    if _ENTRY.fullmatch(path):
        return _GRAPH
    return _TIMINGS if kind.timings.fullmatch(path) else None


def _is_open(kind: RootKind, path: str) -> bool:
    """Return whether names without a hash are no compiler's there, or of an unknown version."""
    return kind.is_users or kind.unknown.fullmatch(path) is not None


def _is_library(_: str, start: bytes, size: int) -> bool:
    """Return whether a library is complete; one that is cut short kills its process (SIGBUS).

    Linkers write to the final name. The file ends with the section headers, or, in code for a GPU,
    with the program headers, and the ELF header says where these are.
    """
    if sys.platform != "linux":
        return True  # libraries of other systems are not ELF
    if len(start) < 52 or start[:4] != b"\x7fELF" or start[4] not in (1, 2):
        return False
    order = "<" if start[5] == 1 else ">"
    if start[4] == 2:
        if len(start) < 64:
            return False
        programs, sections = struct.unpack_from(order + "QQ", start, 0x20)
        sizes = struct.unpack_from(order + "HHHH", start, 0x36)
    else:
        programs, sections = struct.unpack_from(order + "II", start, 0x1C)
        sizes = struct.unpack_from(order + "HHHH", start, 0x2A)
    ends = (programs + sizes[0] * sizes[1], sections + sizes[2] * sizes[3])
    # Zeros at the end were never written: the last section holds names.
    last = start[ends[1] - sizes[2] : ends[1]] if sizes[3] > 1 else b""
    return bool(sections) and max(ends) <= size and (not last or any(last))


def _is_device_code(path: str, start: bytes, size: int) -> bool:
    """Return whether code for a GPU is complete; a file that is not ELF only must not be empty."""
    if start[:4] == b"\x7fELF":
        return _is_library(path, start, size)
    return start[:1] not in (b"", b"\0")


def _is_graph(path: str, data: bytes, size: int) -> bool:
    """Return whether the name is the content's hash; other files must be complete pickles."""
    if len(data) == size and _sha256(data) == path.rpartition("/")[2][:51]:
        return True
    return _is_pickle(path, data, size)


def _is_pickle(_: str, data: bytes, size: int) -> bool:
    """Return whether a pickle is complete, by reading its first opcodes without running any."""
    if not data.startswith(b"\x80") or len(data) < size:
        return data.startswith(b"\x80")
    if not data.endswith(b"."):
        return False
    try:
        for _opcode, _argument, _position in itertools.islice(pickletools.genops(data), _OPCODES):
            pass
    except Exception:  # noqa: BLE001 - what it raises on damage is not documented
        return False
    return True


def _is_python(path: str, data: bytes, size: int) -> bool:
    """Return whether the name is the source's hash; else whether strings and brackets are closed.

    Inductor names most modules by the hash of their text (torch/_inductor/codecache.py, write). The
    source is not compiled: that would cost more, and could show warnings about torch's code.
    """
    stem = path.rpartition("/")[2].removesuffix(".py")
    if len(data) == size and _HASHED.fullmatch(path) and "c" + _sha256(data.strip()) == stem:
        return True
    return _is_text(path, data, size) and (len(data) < size or _is_closed(data, _PYTHON_QUOTED))


def _is_cpp(path: str, data: bytes, size: int) -> bool:
    """Return whether C++ of Inductor is complete; other sources only must be text."""
    if not _is_text(path, data, size):
        return False
    if len(data) < size or not _KERNEL.fullmatch(path):
        return True
    last = data.rstrip().rpartition(b"\n")[2].lstrip()
    is_end = last.endswith((b"}", b";")) or last.startswith((b"#endif", b"//"))
    return is_end and _is_closed(data, _CPP_QUOTED)


def _is_text(path: str, data: bytes, size: int) -> bool:
    """Return whether a text has no NUL, and is not empty if a compiler named it by a hash."""
    return b"\0" not in data and bool(size or not _HASHED.fullmatch(path))


def _is_closed(code: bytes, quoted: re.Pattern[bytes]) -> bool:
    """Return whether every string, comment and bracket of a source is closed."""
    is_open = False

    def blank(match: re.Match[bytes]) -> bytes:
        nonlocal is_open
        is_open |= match.lastindex is not None and match.lastgroup != "word"
        return b" "

    rest = quoted.sub(blank, code)
    return not is_open and all(rest.count(left) == rest.count(right) for left, right in _PAIRS)


def _is_json(path: str, data: bytes, size: int) -> bool:
    if _OBJECTS.fullmatch(path):
        return _is_json_object(path, data, size)
    return len(data) < size or _parses(parse_json, data)


def _is_json_object(_: str, data: bytes, size: int) -> bool:
    return len(data) < size or _parses(parse_object, data)


def _parses(parse: Callable[[bytes], object], data: bytes) -> bool:
    try:
        parse(data)
    except ValueError:
        return False
    return True


def _is_literal(_: str, data: bytes, size: int) -> bool:
    """Return whether a list of graphs can be parsed: vLLM and SGLang write it in place.

    See vllm/compilation/backends.py and sglang/srt/compilation/backend.py: CompilerManager.
    """
    if len(data) < size:
        return True
    try:
        ast.literal_eval(parse_python(data.decode().lstrip(" \t"), "eval"))
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return False
    return True


def _sha256(data: bytes) -> str:
    """Return the SHA-256 as Inductor writes it into names."""
    return base64.b32encode(hashlib.sha256(data).digest())[:51].decode().lower()


_TIMINGS = Form("broken timings", _is_json_object, UNITED_LIMIT)
_OBJECT = Form("broken JSON", _is_json_object, UNITED_LIMIT)
_GRAPH = Form("a broken graph", _is_graph)
_GRAPH_LIST = Form("a broken list of graphs", _is_literal, _LITERAL)
_LIBRARY = Form("broken native code", _is_library)
_DEVICE_CODE = Form("broken native code", _is_device_code)
_SOURCE = Form("broken source code", _is_cpp, _PARSED, is_known_by_hash=True)
_TEXT = Form("a broken intermediate form", _is_text, is_known_by_hash=True)

_BY_SUFFIX = {
    "so": _LIBRARY,
    "o": _LIBRARY,
    **dict.fromkeys(("cubin", "hsaco"), _DEVICE_CODE),
    "best_config": _OBJECT,
    "json": Form("broken JSON", _is_json, UNITED_LIMIT, is_known_by_hash=True),
    "pkl": Form("a broken pickle", _is_pickle, is_known_by_hash=True),
    "py": Form("broken source code", _is_python, _PARSED, is_known_by_hash=True),
    **dict.fromkeys(("c", "cc", "cpp", "cu", "cuh", "h", "hpp", "inc"), _SOURCE),
    **dict.fromkeys(("ttir", "ttgir", "llir", "ptx", "amdgcn", "source"), _TEXT),
}
"""The forms, by suffix. A file of another kind is broken if it contains only zeros."""
