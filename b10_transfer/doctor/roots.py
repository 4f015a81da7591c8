"""Findings about the cache roots: their owners, and whether they can be used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from b10_store import RECORD_FOLDER
from b10_transfer.caches.artifacts import find_files
from b10_transfer.caches.exposure import find_exposure, strict_exposure
from b10_transfer.caches.foreign import few, find_foreign
from b10_transfer.caches.kinds import INDUCTOR, TRITON
from b10_transfer.caches.roots import resolve_roots, with_store
from b10_transfer.caches.unusable_roots import find_obstacle, placing_variable
from b10_transfer.doctor.findings import problem
from b10_transfer.errors import CacheValidationError
from b10_transfer.machine.checks import find_noexec
from b10_transfer.operations.context import check_root
from b10_transfer.own_user import own_uid
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from b10_store import FoundFile, Skipped
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.doctor.findings import Finding
    from b10_transfer.settings import Settings

CPP_KERNEL = "ab/ckernel.main.so"
"""A kernel that a CPU will need, assumed even before anything is here."""

_FOLDERS = "cache root"
_ROOTS = "B10_CACHE_ROOTS"
_ELSEWHERE = "put the cache root elsewhere, or leave it out of B10_CACHE_ROOTS"


class LocalRoot(NamedTuple):
    """A cache root and its files."""

    root: CacheRoot
    found: list[FoundFile]


def find_roots(settings: Settings) -> tuple[tuple[CacheRoot, ...], list[Finding]]:
    """Return the cache roots of this host, and findings for those that cannot be resolved."""
    unresolved: list[str] = []
    roots = resolve_roots(
        settings.variables,
        settings.roots,
        full_headers=settings.full_headers,
        unresolved=unresolved,
    )
    findings = [
        problem("root.unusable", _FOLDERS, line, "set LOCAL_WORK_DIR and TMPDIR to local folders")
        for line in unresolved
    ]
    limited = with_store(roots, settings.store, is_strict=settings.strict_roots)
    return limited, findings


def examine_root(
    root: CacheRoot, settings: Settings, *, is_gpu: bool
) -> tuple[LocalRoot, list[Finding]]:
    """Look at one cache root and its content."""
    try:
        check_root(root, settings)
    except CacheValidationError as error:
        unusable = problem("root.unusable", root.name, str(error), _ELSEWHERE, folder=root.folder)
        return LocalRoot(root, []), [unusable]
    blocking = _in_its_place(root.folder)
    if blocking and (blocking != root.folder or os.path.exists(blocking)):
        return LocalRoot(root, []), [_unusable_folder(root, blocking)]
    links: list[Skipped] = []
    found = find_files(root, links)
    local = LocalRoot(root, found)
    return local, [
        *_link_findings(root, links),
        *_foreign_findings(root, settings),
        *_exposure_findings(root, settings),
        *_permission_findings(local, settings, is_gpu=is_gpu),
        *_execution_findings(local, is_gpu=is_gpu),
    ]


def _in_its_place(path: str) -> str:
    """Return what stands in place of this folder or one above it and is not a folder; or ""."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return "" if os.path.isdir(path) else path


def _unusable_folder(root: CacheRoot, blocking: str) -> Finding:
    where = "it" if blocking == root.folder else blocking
    return problem(
        "root.unusable",
        root.name,
        f"nothing can be loaded into {root.folder}: {where} is not a folder",
        f"move {blocking} away, or put the cache root elsewhere",
        folder=root.folder,
        in_its_place=blocking,
    )


def _foreign_findings(root: CacheRoot, settings: Settings) -> Iterator[Finding]:
    names = find_foreign(root, find_roots(settings)[0])
    if names:
        yield problem(
            "root.other_files",
            root.name,
            f"{root.folder} holds things that are not part of the cache ({few(names)}): they are "
            "neither saved nor cleared",
            "give the cache a folder of its own",
            folder=root.folder,
            foreign=names,
        )


def _exposure_findings(root: CacheRoot, settings: Settings) -> Iterator[Finding]:
    lack = find_exposure(root)
    strict = strict_exposure(root) if settings.strict_roots else None
    if strict is not None:
        yield problem(
            "root.exposed",
            root.name,
            f"{lack.fact if lack is not None else strict}: it is left out because of "
            "B10_STRICT_ROOTS",
            lack.advice
            if lack is not None
            else "let nobody else write to it or to the folders above",
            folder=root.folder,
        )
    elif lack is not None:
        yield problem(
            "root.exposed",
            root.name,
            f"{lack.fact}: whoever can write there can run code here",
            lack.advice,
            folder=root.folder,
        )


def is_wanted(root: CacheRoot, settings: Settings, *, is_gpu: bool) -> bool:
    """Return whether a compiler of this host is likely to use a cache root."""
    return (
        os.path.lexists(root.folder)
        or root.name == INDUCTOR.name
        or (is_gpu and root.name == TRITON.name)
        or bool(settings.roots.get(root.name))
        or placing_variable(root) in settings.variables.keys() - {"TMPDIR"}
    )


def _link_findings(root: CacheRoot, links: Iterable[Skipped]) -> Iterator[Finding]:
    for location, reason in links:
        if location == root.folder:
            continue  # the root itself is examined elsewhere
        if root.is_strict and not reason.startswith("a link"):
            yield problem(
                "root.exposed",
                root.name,
                f"{location} {reason}: it is left out because of B10_STRICT_ROOTS",
                "chown it, or let nobody else write there",
                folder=location,
            )
            continue
        yield problem(
            "root.link",
            root.name,
            f"{location} is {reason}: it is not followed, and nothing is saved or loaded there",
            "let it lead to a folder that belongs to this user and holds nothing else, or remove "
            "it",
            link=location,
        )


def _permission_findings(
    local: LocalRoot, settings: Settings, *, is_gpu: bool
) -> Iterator[Finding]:
    root, found = local
    record = os.path.join(root.folder, RECORD_FOLDER)
    obstacle = find_obstacle(root) if is_wanted(root, settings, is_gpu=is_gpu) else None
    if obstacle is not None:
        yield problem(
            "root.unwritable",
            root.name,
            f"{obstacle.fact}: nothing can be loaded into it",
            obstacle.advice,
            folder=root.folder,
        )
    if os.path.lexists(record) and (os.path.islink(record) or not os.path.isdir(record)):
        yield problem(
            "root.unwritable",
            root.name,
            f"{record} is not a folder, so nothing can be loaded beside it",
            f"move {record} away",
            folder=record,
        )
    unreadable = [item.path for item in found if not os.access(item.location, os.R_OK)]
    if unreadable:
        yield problem(
            "root.unreadable",
            root.name,
            f"{count_text(len(unreadable), 'file')} in {root.folder} cannot be read by this user "
            f"(uid {own_uid()}), such as {unreadable[0]}: they are neither used nor saved",
            "run as the user that made them, or clear the cache root",
            files=len(unreadable),
        )


def _execution_findings(local: LocalRoot, *, is_gpu: bool) -> Iterator[Finding]:
    paths = [item.path for item in local.found]
    if not is_gpu and local.root.name == INDUCTOR.name:
        paths.append(CPP_KERNEL)
    lack = find_noexec(local.root.folder, paths)
    if lack is not None:
        yield problem(
            "root.noexec", local.root.name, lack.fact, lack.advice, folder=local.root.folder
        )
