"""Findings about the store's folder: whether it exists, is a store, and is open to this user."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from b10_store import FORMAT_FILE, UnsupportedFormatError
from b10_transfer.doctor.findings import note, problem
from b10_transfer.doctor.mount_probe import STORE_FOLDERS
from b10_transfer.doctor.patience import no_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_store import Store
    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.mount import Answers

_STORE = "store"
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""The errors that mean that this user may not use a folder."""


def folder_findings(store: str, look: Answers) -> Iterator[Finding]:
    """Report a folder that is missing, hangs, or denies this user something."""
    if look.pending:
        yield problem(
            "store.no_answer",
            _STORE,
            f"{store} {no_answer()} ({look.pending}): its mount hangs",
            "remount it; until then a load or a save waits as long as the mount does. Set "
            "BASETEN_FS_ENABLED=0 to start servers without it",
            step=look.pending,
        )
        return
    failed = next((step for step in look.steps.values() if step.error), None)
    if failed is None:
        yield from _link_findings(store, look.facts("links").get("links", []))
        yield from _access_findings(store, look.facts("access"))
        yield from _other_files(store, look.facts("listing").get("names", []))
    elif failed.errno == errno.ENOENT:
        yield problem(
            "store.missing",
            _STORE,
            f"there is no folder {store} yet; a save makes it",
            "if others have saved, check B10FS_CACHE_DIR, and that the shared folder is mounted "
            "here",
        )
    else:
        advice = "check the mount and the permissions of the folder"
        if failed.errno == errno.ENOTDIR:
            advice = "set B10FS_CACHE_DIR to a folder"
        elif failed.errno not in REFUSED:
            advice = "remount it"
        yield problem("store.unreadable", _STORE, f"{store} cannot be read: {failed.error}", advice)


def is_readable(look: Answers) -> bool:
    """Return whether this user may look into the store and its folders."""
    is_there = not look.pending and all(not step.error for step in look.steps.values())
    return is_there and all(may[0] for may in look.facts("access").values())


def is_writable(look: Answers) -> bool:
    """Return whether this user may write to the store, judged by its permissions."""
    return is_readable(look) and all(may[1] for may in look.facts("access").values())


def format_findings(store: Store) -> Iterator[Finding]:
    """Report a store of another release."""
    try:
        store.has_format()
    except UnsupportedFormatError as error:
        yield problem(
            "store.format", _STORE, str(error), "use one release on all hosts that share it"
        )
    except OSError as error:
        yield unreadable(f"{FORMAT_FILE} in the store", error)


def unreadable(what: str, error: OSError) -> Finding:
    """Report a part of the store that cannot be read."""
    return problem(
        "store.unreadable",
        _STORE,
        f"{what} cannot be read: {error.strerror or error}",
        "check the mount and the permissions",
    )


def _link_findings(store: str, links: list[str]) -> Iterator[Finding]:
    if links:
        yield problem(
            "store.linked",
            _STORE,
            f"{', '.join(f'{store}/{name}' for name in links)}: a link in place of a folder",
            "find out who put it there, and put a folder in its place; until then nothing is "
            "saved, collected or repaired. Only the store itself may be a link",
            folders=links,
        )


def _access_findings(store: str, access: Mapping[str, list[bool]]) -> Iterator[Finding]:
    closed = [name for name, may in access.items() if not may[0]]
    if closed:
        names = ", ".join(f"{store}/{name}" if name else store for name in closed)
        yield problem(
            "store.unreadable",
            _STORE,
            f"this user may not read {names}",
            "let it (chown, chmod g+rwx), or run as the user that saves",
            folders=closed,
        )
        return
    fixed = [name for name, may in access.items() if not may[1]]
    if fixed:
        where = store if "" in fixed else ", ".join(f"{store}/{name}" for name in fixed)
        yield note(
            "store.read_only",
            _STORE,
            f"{where} is read-only here: loads work, saves do not",
            "nothing, if this host shall not save; else let this user write there",
            folders=fixed,
        )


def _other_files(store: str, names: list[str]) -> Iterator[Finding]:
    own = {FORMAT_FILE, *STORE_FOLDERS}
    if names and own.isdisjoint(names):
        yield note(
            "store.other_files",
            _STORE,
            f"{store} holds other things ({', '.join(names[:3])}) but no store yet",
            "set B10FS_CACHE_DIR to a folder of its own, if that is not intended",
        )
