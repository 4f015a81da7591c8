"""Verify a few packs at each visit, to find damage before a load needs the bytes."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from b10_store.format.names import VERIFY_AGE_SECONDS, age, pack_path
from b10_store.packs.health import is_intact
from b10_store.remote.second_look import wrong_twice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b10_store.format.names import PackId
    from b10_store.gc.report import GcReport
    from b10_store.remote.protocol import Remote

VERIFIED_BYTES = 64 << 20
"""About how many bytes one visit reads: all of a small store."""


def verify_some(
    remote: Remote,
    packs: Iterable[PackId],
    report: GcReport,
    now: float,
    has_time: Callable[[], bool],
) -> None:
    """Read packs in random order until `VERIFIED_BYTES` are read; in time every pack is read.

    Args:
        remote: the store.
        packs: the packs that manifests reference.
        report: receives the damaged packs.
        now: by the store's filesystem, in seconds since the epoch; see `VERIFY_AGE_SECONDS`.
        has_time: asked after each block that is read; when it returns False, the rest is skipped.
    """
    shuffled = list(packs)
    random.SystemRandom().shuffle(shuffled)
    for pack in shuffled:
        if report.verified_bytes >= VERIFIED_BYTES or not has_time():
            return
        try:
            known = remote.stat(pack_path(pack))
        except OSError:
            continue  # in trash, or gone: a check reports those
        if age(known.mtime, now) < VERIFY_AGE_SECONDS:
            continue
        fault = wrong_twice(partial(_fault, remote, pack, known.size, has_time))
        if has_time():
            report.verified_bytes += known.size
            report.damaged += [f"{pack_path(pack)}: {fault}"] if fault else []


def _fault(remote: Remote, pack: PackId, size: int, has_time: Callable[[], bool]) -> str:
    try:
        if is_intact(remote, pack_path(pack), pack, size, has_time):
            return ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read: {error}"
    return "its bytes do not match its name"
