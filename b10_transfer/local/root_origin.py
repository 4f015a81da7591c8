"""Find which files of a cache root were made for this machine, and which would do harm here.

A cache root may come with an image, on a volume that moves, or by `cp -r`. Only the file itself is
reliable, and not every file says where it comes from. So three signs are combined: what the code
says about its machine (`code_verdicts`); what `.b10_transfer/environment` notes about earlier uses
of the root; and, when neither says anything, whether a file was here before this container started.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from b10_store import Fingerprint
from b10_transfer.caches.artifacts import Bundles, is_native
from b10_transfer.caches.code_verdicts import Verdict, is_harmful, is_library, judge_files
from b10_transfer.local.record import (
    UNUSABLE,
    read_hashed,
    read_record,
    write_record,
)
from b10_transfer.local.settled import is_settled, settled_before_ns
from b10_transfer.machine.start import started_ns
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store import FoundFile
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.local.record import Hashed
    from b10_transfer.machine.environment import Environment

_RECORD = "environment"
OTHER_ENVIRONMENT = "made under another environment"
OTHER_HOST = "native code made with another CPU or C library"
NO_TELLING = "native code from elsewhere that does not say for which CPU it was made"

_COPY_SECONDS = 10
"""A compiler finishes a file within this time; a file that is older than its inode by more was
copied."""


class Machine(NamedTuple):
    """The machine a file was made for: an environment key and a host requirement."""

    key: str
    requirement: str


_NOBODY = Machine("", "")
"""The machine of a file from elsewhere that does not say more."""


class Other(NamedTuple):
    """A file that was here before this machine used the root.

    Attributes:
        size, mtime_ns: those it had; a file with other values is a new one.
        machine: the machine that used the root until then.
    """

    size: int
    mtime_ns: int
    machine: Machine


class Note(NamedTuple):
    """The note about a cache root.

    Attributes:
        machine: the machine that used it last.
        others: files of other machines, by path.
        judged: files whose code was judged to fit this machine, by path.
    """

    machine: Machine
    others: dict[str, Other]
    judged: dict[str, Fingerprint]


class Origin(NamedTuple):
    """The judgement on the files of a cache root.

    Attributes:
        left_out: why a file is not to be saved, by path.
        harmful: what is wrong with files that compute wrong numbers here, or end the process.
        unknown: how many were here before this container, if the root is seen for the first time.
    """

    left_out: dict[str, str]
    harmful: dict[str, str]
    unknown: int


NOTHING = Origin({}, {}, 0)


def look_at(
    root: CacheRoot,
    found: Sequence[FoundFile],
    environment: Environment,
    before_ns: int | None = None,
    known: Mapping[str, Hashed] | None = None,
) -> Origin:
    """Find out which files of a cache root belong to this machine, and note it.

    Args:
        root: the cache root.
        found: its files.
        environment: of this host.
        before_ns: what `settled_before_ns` returned; by default it is found out.
        known: the files that were hashed before, by path; by default they are read.
    """
    before = _read_note(root.folder)
    if before_ns is None:
        before_ns = settled_before_ns(root.folder) if found else 0
    if known is None:
        known = read_hashed(root.folder)
    origin, note = _examine(root, found, environment, (before, known), before_ns)
    if note != before:
        _write_note(root.folder, note)
    return origin


def peek(root: CacheRoot, found: Sequence[FoundFile], environment: Environment) -> Origin:
    """Find out the same without noting it."""
    noted = _read_note(root.folder), read_hashed(root.folder)
    return _examine(root, found, environment, noted, 0)[0]


def _examine(
    root: CacheRoot,
    found: Sequence[FoundFile],
    environment: Environment,
    noted: tuple[Note | None, Mapping[str, Hashed]],
    before_ns: int,
) -> tuple[Origin, Note]:
    here = Machine(environment.key, environment.requirement)
    note, known = noted
    judged: dict[str, Fingerprint] = {}
    unjudged = found
    if note is not None and note.machine == here:
        judged = note.judged
        unjudged = [item for item in found if not _is_vouched(item, judged, known)]
    verdicts = judge_files(unjudged, environment)
    strange = _from_elsewhere(found) if note is None else frozenset[str]()
    others = _others(note, found, here, verdicts, strange)
    harmful = _harmful(root, found, verdicts, others, here)
    bad = {path: verdict.value for path, verdict in verdicts.items() if _is_bad(verdict)}
    fit = {
        item.path: item.fingerprint
        for item in found
        if (item.path in verdicts or item.path in judged)
        and item.path not in bad
        and is_settled(item, before_ns)
    }
    reasons = {path: _reason(path, other, here) for path, other in others.items()}
    left_out = {**reasons, **bad, **harmful}
    return Origin(left_out, harmful, len(strange)), Note(here, others, fit)


def note_machine(folder: str, environment: Environment) -> None:
    """Note which machine uses a cache root that was just created; an earlier note stays."""
    if _read_note(folder) is None:
        here = Machine(environment.key, environment.requirement)
        _write_note(folder, Note(here, {}, {}))


def origin_lines(folder: str, origin: Origin) -> list[str]:
    """Return a line about each group of files that are left where they are."""
    counts = Counter(
        reason for path, reason in origin.left_out.items() if path not in origin.harmful
    )
    lines = [
        f"{count_text(counts[reason], 'file')} in {folder}: {reason}; they are not saved, and are "
        "useless or wrong here: `b10-transfer clear` removes them"
        for reason in (OTHER_ENVIRONMENT, OTHER_HOST, NO_TELLING)
        if counts[reason]
    ]
    if origin.unknown:
        lines.append(
            f"{count_text(origin.unknown, 'file')} in {folder} came with an image, a volume or a "
            "copy, or are from before a restart: they are used and saved unless their content "
            "says that they do not fit; run `b10-transfer clear` if they are from another kind "
            "of machine"
        )
    return lines


def _is_vouched(
    item: FoundFile, judged: Mapping[str, Fingerprint], known: Mapping[str, Hashed]
) -> bool:
    """Return whether a file was saved, brought by a load, or judged before, as it is."""
    before = known.get(item.path)
    if before is not None and before.fingerprint == item.fingerprint:
        return True
    return judged.get(item.path) == item.fingerprint


def _is_bad(verdict: Verdict) -> bool:
    return verdict in (Verdict.OTHER_WIDTH, Verdict.LACKING)


def _from_elsewhere(found: Iterable[FoundFile]) -> frozenset[str]:
    """Return files that were here before this container, or were copied with their times."""
    started = started_ns()
    copied = _COPY_SECONDS * 10**9
    return frozenset(
        item.path
        for item in found
        if item.fingerprint.ctime_ns < started
        or item.fingerprint.mtime_ns + copied < item.fingerprint.ctime_ns
    )


def _others(
    note: Note | None,
    found: Iterable[FoundFile],
    here: Machine,
    verdicts: Mapping[str, Verdict],
    strange: frozenset[str],
) -> dict[str, Other]:
    """Return the files of other machines: known ones that are still there, and new ones."""
    known = note.others if note is not None else {}
    others: dict[str, Other] = {}
    for item in found:
        size, mtime_ns = item.fingerprint.size, item.fingerprint.mtime_ns
        other = known.get(item.path)
        if other is None or (other.size, other.mtime_ns) != (size, mtime_ns):
            machine = note.machine if note is not None else here
            if item.path in strange and verdicts.get(item.path) is Verdict.SILENT:
                machine = _NOBODY if is_library(item.path) else here
            other = Other(size, mtime_ns, machine)
        if _reason(item.path, other, here):
            others[item.path] = other
    return others


def _reason(path: str, other: Other, here: Machine) -> str:
    if other.machine == _NOBODY:
        return NO_TELLING
    if other.machine.key != here.key:
        return OTHER_ENVIRONMENT
    if is_native(path) and other.machine.requirement != here.requirement:
        return OTHER_HOST
    return ""


def _harmful(
    root: CacheRoot,
    found: Sequence[FoundFile],
    verdicts: Mapping[str, Verdict],
    others: Mapping[str, Other],
    here: Machine,
) -> dict[str, str]:
    """Return the files that would do harm, and those that are useful only together with them.

    That includes libraries from another CPU that do not say what they need.
    """
    harmful = {
        path: verdict.value for path, verdict in verdicts.items() if is_harmful(path, verdict)
    }
    for path, other in others.items():
        if (
            other.machine not in (here, _NOBODY)
            and other.machine.requirement != here.requirement
            and verdicts.get(path) is Verdict.SILENT
            and is_library(path)
        ):
            harmful[path] = OTHER_HOST
    if not harmful:
        return harmful
    bundles = Bundles(root.kind, (item.path for item in found))
    torn = {bundles.of(path): reason for path, reason in harmful.items()}
    torn.pop("", None)
    if torn:
        for item in found:
            bundle = bundles.of(item.path)
            if bundle in torn:
                harmful.setdefault(item.path, torn[bundle])
    return harmful


def _read_note(folder: str) -> Note | None:
    content = read_record(folder, _RECORD)
    try:
        return Note(
            Machine(str(content["key"]), str(content["requirement"])),
            {
                str(path): Other(int(row[0]), int(row[1]), Machine(str(row[2]), str(row[3])))
                for path, row in content["others"].items()
            },
            {str(path): Fingerprint(*map(int, row[:4])) for path, row in content["judged"].items()},
        )
    except UNUSABLE:
        return None


def _write_note(folder: str, note: Note) -> None:
    others = {path: [item.size, item.mtime_ns, *item.machine] for path, item in note.others.items()}
    content = {**note.machine._asdict(), "others": others, "judged": note.judged}
    write_record(folder, _RECORD, content)
