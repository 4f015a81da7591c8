"""What `doctor` says of the mount of the store: its filesystem, what it can do, and its clock."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from b10_transfer.doctor.findings import note, ok, problem
from b10_transfer.doctor.patience import no_answer
from b10_transfer.doctor.store import REFUSED
from b10_transfer.machine.filesystems import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_transfer.doctor.findings import Code, Finding
    from b10_transfer.doctor.mount import Answers
    from b10_transfer.machine.filesystems import Filesystem

_STORE, _MOUNT, _CLOCK = "store", "mount", "clock"
_SLOW_SECONDS = 0.05
_SKEW_SECONDS = 5.0
_GRAVE_SKEW_SECONDS = 86400.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ANOTHER_MOUNT = "use a mount that can (NFS, CephFS, Lustre), and another B10FS_CACHE_DIR"

# What was tried, the finding when it fails, what that means.
_NEEDED: Mapping[str, tuple[Code, str, str]] = {
    "fsync": (
        "mount.fsync",
        "a file that was written cannot be synced",
        "every save fails at this; look at the mount's log, and at its options",
    ),
    "exclusive": (
        "mount.exclusive",
        "a file that is there can be created once more (O_EXCL)",
        _ANOTHER_MOUNT,
    ),
    "visible": (
        "mount.visibility",
        "a new file does not show in a fresh open and listing",
        "shorten the mount's caches: a host may miss what another has just saved",
    ),
    "touch": (
        "mount.touch",
        "the time of a touched file does not move on",
        "let the mount keep times: without, a running save looks dead to the garbage collection, "
        "and loads do not keep what they use from expiring",
    ),
    "rename": (
        "mount.rename",
        "a rename does not replace a file at once, or leaves it under its old name",
        f"do not save here: a rename is what everything rests on; {_ANOTHER_MOUNT}",
    ),
    "descriptor": (
        "mount.rename",
        "an open file is not the same any more once it is renamed",
        f"do not save here: the garbage collection rests on it; {_ANOTHER_MOUNT}",
    ),
    "rename_folder": (
        "mount.rename",
        "a folder cannot be renamed",
        f"set B10_AUTO_GC=0: the garbage collection cannot work here; or {_ANOTHER_MOUNT}",
    ),
    "delete": (
        "mount.visibility",
        "a removed file still shows in a fresh open or listing",
        "shorten the mount's caches",
    ),
}


def not_tried(reason: str) -> Finding:
    """What the mount can do was not tried out."""
    return ok("mount.not_tried", _MOUNT, f"what it can do was not tried out: {reason}")


def mount_findings(look: Answers) -> Iterator[Finding]:
    """What kind of filesystem the store is on."""
    mounted = filesystem_of(str(look.facts("path").get("path", "")))
    if mounted is None:
        return
    if mounted.is_object_store:
        yield problem(
            "mount.object_store",
            _MOUNT,
            f"the store is on {mounted}: an object store, where a rename copies and deletes",
            f"nothing guarantees that what is saved can be loaded; {_ANOTHER_MOUNT}",
            **_told(mounted),
        )
    elif mounted.is_local:
        yield note(
            "mount.local",
            _MOUNT,
            f"the store is on {mounted}: a filesystem of this host, which others do not see",
            "mount the shared folder there, or set B10FS_CACHE_DIR to where it is mounted; unless "
            "this host alone shall use it",
            **_told(mounted),
        )


def trial_findings(look: Answers, trial: Answers) -> Iterator[Finding]:
    """What the mount can do."""
    created = trial.steps.get("create")
    if trial.pending:
        yield problem(
            "mount.no_answer",
            _MOUNT,
            f"{_in_words(trial.pending)} {no_answer()}",
            "mount it anew; until then saves wait as long as the mount does",
            step=trial.pending,
        )
        return
    if created is None or created.error:
        yield _not_created(created.errno if created else 0, created.error if created else "")
        return
    full = next((step for step in trial.steps.values() if step.errno in _FULL), None)
    if full is not None:
        yield _not_created(full.errno, full.error)
    for name in _NEEDED:
        step = trial.steps.get(name)
        if step is None or step.errno in _FULL:
            continue
        if not step.holds:
            code, fact, advice = _NEEDED[name]
            why = f": {step.error}" if step.error else ""
            yield problem(code, _MOUNT, fact + why, advice, step=name, errno=step.errno or None)
        elif step.facts.get("after"):
            yield note(
                "mount.visibility",
                _MOUNT,
                f"{_in_words(name)} showed after {step.facts['after']:.1f} s only",
                "nothing, unless it takes minutes; shorter caches of the mount show it sooner",
                step=name,
                seconds=step.facts["after"],
            )
    yield from _summary(look, trial)
    yield from _clock_findings(trial)


def _not_created(number: int, error: str) -> Finding:
    if number in REFUSED:
        return note(
            "store.read_only",
            _STORE,
            f"no file can be made in the store ({error}): loads work, saves do not",
            "nothing, if this host shall not save; else let this user write there",
        )
    if number in _FULL:
        return problem(
            "space.little",
            _STORE,
            f"the store is full: {error}",
            "`b10-transfer gc`, and look at B10_STORE_MAX_SIZE_MB; or enlarge it",
        )
    return problem("mount.failed", _MOUNT, f"no file can be made: {error}", "mount it anew")


def _summary(look: Answers, trial: Answers) -> Iterator[Finding]:
    mounted = filesystem_of(str(look.facts("path").get("path", "")))
    can = {name: step.holds for name, step in trial.steps.items() if name != "latency"}
    latency = float(trial.facts("latency").get("median", 0.0))
    links = "hard links" if can.get("hard_link") else "no hard links (none are needed)"
    works = all(can.get(name) for name in _NEEDED)
    yield ok(
        "mount.capabilities",
        _MOUNT,
        f"{mounted or 'a filesystem'}: "
        + ("create, sync, touch, rename and remove work as they should, " if works else "")
        + f"{links}; {latency * 1e3:.2f} ms a rename",
        **(_told(mounted) if mounted is not None else {}),
        can=can,
        seconds={name: step.seconds for name, step in trial.steps.items()},
        latency=latency,
    )
    if latency > _SLOW_SECONDS:
        yield note(
            "mount.slow",
            _MOUNT,
            f"an operation takes {latency * 1e3:.0f} ms",
            "nothing: a load makes about a dozen; but look whether the server is near",
            latency=latency,
        )


def _clock_findings(trial: Answers) -> Iterator[Finding]:
    facts = trial.facts("create")
    written, before, after = (float(facts[name]) for name in ("mtime", "before", "after"))
    skew = max(0.0, written - after) - max(0.0, before - written)
    if abs(skew) < _SKEW_SECONDS:
        yield ok("clock.same", _CLOCK, "as the store's filesystem has it", skew=skew)
        return
    ahead = "behind" if skew > 0 else "ahead of"
    text = f"this host's clock is {abs(skew):.0f} s {ahead} that of the store's filesystem"
    advice = (
        "nothing for the cache: ages are taken from the filesystem's clock alone, and this host's "
        "shifts only the ages that are printed"
    )
    if abs(skew) < _GRAVE_SKEW_SECONDS:
        yield note("clock.skew", _CLOCK, text, advice, skew=skew)
        return
    yield problem(
        "clock.skew",
        _CLOCK,
        text,
        "set the clocks (NTP): if it is the filesystem's that is wrong, what is stored expires at "
        "the wrong time once it is set right; if it is this host's, each load notes anew that it "
        "was one",
        skew=skew,
    )


def _in_words(step: str) -> str:
    words = {
        "create": "a new file",
        "fsync": "the sync of a file",
        "visible": "a new file",
        "rename": "a rename",
        "delete": "the removal of a file",
        "rename_folder": "the rename of a folder",
        "touch": "the time of a touched file",
        "descriptor": "a rename of an open file",
        "latency": "a rename",
        "hard_link": "a hard link",
        "exclusive": "an exclusive create",
    }
    return words.get(step, step)


def _told(mounted: Filesystem) -> dict[str, object]:
    return {"filesystem": mounted.kind, "source": mounted.source, "mounted_at": mounted.folder}
