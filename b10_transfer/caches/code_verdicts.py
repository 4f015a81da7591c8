"""Judge whether the code in Inductor's graphs, sources and libraries fits this machine."""

from __future__ import annotations

import enum
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from b10_store import JUDGED_LIMIT, read_file
from b10_transfer.caches.file_forms import check_of
from b10_transfer.caches.forms import FOLDERS_KNOWN
from b10_transfer.caches.native_code import lacking_instructions
from b10_transfer.caches.vector_code import isa_width, requested_width, widths_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store import ContentCheck, FoundFile
    from b10_transfer.caches.kinds import RootKind
    from b10_transfer.machine.environment import Environment

_GRAPH = re.compile(
    r"(?:.*/)?(?:(?:fxgraph|aotautograd|dynamo)/.*|rank_[^/]*/(?!inductor_cache/).*)", re.DOTALL
)
_NAMED = r"(?:.*/)?c[a-z2-7]{51}(?:\.[a-z0-9_]+)*"
"""Inductor names its generated files by a SHA-256 in base32."""
_SOURCE = re.compile(_NAMED + r"\.(?:py|cpp)", re.DOTALL)
_LIBRARY = re.compile(_NAMED + r"\.(?:so|o)", re.DOTALL)


class Verdict(enum.Enum):
    """The judgement whether a file was made for this machine."""

    FITS = "fits this machine"
    SILENT = "does not say"
    OTHER_WIDTH = "made for vectors of another width"
    LACKING = "needs instructions that this CPU lacks"


def is_library(path: str) -> bool:
    """Return whether Inductor compiled the artifact at `path` for the CPU that it ran on."""
    return path.endswith((".so", ".o")) and _LIBRARY.fullmatch(path) is not None


def is_harmful(path: str, verdict: Verdict) -> bool:
    """Return whether a compiler that uses the artifact at `path` gets wrong numbers, or is killed.

    A source does no harm by itself, because only a graph leads to it. A library made from a source
    for another width does none either: its name depends on the options for that width.
    """
    return verdict is Verdict.LACKING or (
        verdict is Verdict.OTHER_WIDTH and _GRAPH.fullmatch(path) is not None
    )


def judge_files(found: Iterable[FoundFile], environment: Environment) -> dict[str, Verdict]:
    """Judge the files that may say for which machine they were made.

    Args:
        found: files of a cache root.
        environment: of this host.

    Returns:
        By path, a verdict for each graph, source and library of Inductor.
    """
    width = isa_width(environment.vector_isa)
    verdicts: dict[str, Verdict] = {}
    made_for: dict[str, frozenset[int]] = {}
    asked: set[int] = set()
    for item in found:
        if is_library(item.path):
            verdicts[item.path] = _judge_library(_read(item), environment)
        elif _holds_graphs(item.path.rpartition("/")[0]):
            code = _read(item)
            own = requested_width(code)
            if own is not None:
                asked.add(own)
            verdicts[item.path] = _judge_graph(code, own, width)
        elif item.path.endswith((".py", ".cpp")) and _SOURCE.fullmatch(item.path):
            made_for[item.path] = widths_in(_read(item))
    for path, widths in made_for.items():
        # A source does not record the requested width; the graphs beside it do.
        verdicts[path] = Verdict.FITS if widths & asked else _compare(widths, width)
    return verdicts | _libraries_of_other_sources(verdicts)


class MachineCheck:
    """A `ContentCheck` that also finds code that would do harm on this machine.

    A save publishes no such code, but an older release may have stored it without looking.
    """

    __slots__ = ("_code", "_environment", "_form", "_path")

    def __init__(self, form: ContentCheck, path: str, environment: Environment) -> None:
        """Look at nothing yet.

        Args:
            form: the check whether the artifact is intact.
            path: of the artifact in its cache root.
            environment: of this host.
        """
        self._form = form
        self._path = path
        self._environment = environment
        self._code = bytearray()

    def feed(self, data: bytes | memoryview) -> None:
        """See `ContentCheck.feed`."""
        self._form.feed(data)
        self._code += data[: JUDGED_LIMIT - len(self._code)]

    def flaw(self) -> str:
        """See `ContentCheck.flaw`."""
        flaw = self._form.flaw()
        if flaw:
            return flaw
        verdict = self._verdict(bytes(self._code))
        return verdict.value if is_harmful(self._path, verdict) else ""

    def _verdict(self, code: bytes) -> Verdict:
        if _LIBRARY.fullmatch(self._path):
            return _judge_library(code, self._environment)
        own = requested_width(code)
        return _judge_graph(code, own, isa_width(self._environment.vector_isa))


def check_for_host(kind: RootKind, environment: Environment, path: str) -> ContentCheck:
    """Return the check of the stored bytes of the artifact at `path`, for this host."""
    form = check_of(kind, path)
    if is_library(path) or _holds_graphs(path.rpartition("/")[0]):
        return MachineCheck(form, path, environment)
    return form


@lru_cache(FOLDERS_KNOWN)
def _holds_graphs(folder: str) -> bool:
    """Return whether the files of a folder are graphs."""
    return _GRAPH.fullmatch(f"{folder}/name") is not None


def _judge_graph(code: bytes, own: int | None, width: int | None) -> Verdict:
    return _compare(widths_in(code), width if own is None else own)


def _judge_library(code: bytes, environment: Environment) -> Verdict:
    lacking = lacking_instructions(code, environment.instructions)
    if lacking is None:
        return Verdict.SILENT
    return Verdict.LACKING if lacking else Verdict.FITS


def _compare(widths: frozenset[int], width: int | None) -> Verdict:
    if not widths or width is None:
        return Verdict.SILENT
    return Verdict.FITS if width in widths else Verdict.OTHER_WIDTH


def _libraries_of_other_sources(verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
    stems = {
        path.removesuffix(".cpp")
        for path, verdict in verdicts.items()
        if verdict is Verdict.OTHER_WIDTH and path.endswith(".cpp")
    }
    return {
        path: Verdict.OTHER_WIDTH
        for path, verdict in verdicts.items()
        if verdict is not Verdict.LACKING
        and path.endswith((".so", ".o"))
        and path.rpartition(".")[0] in stems
    }


def _read(item: FoundFile) -> bytes:
    """Return the bytes of a file; b"" when it cannot be read or is too large to search."""
    if item.fingerprint.size > JUDGED_LIMIT:
        return b""
    try:
        return read_file(item.location, JUDGED_LIMIT)
    except (OSError, ValueError):
        return b""
