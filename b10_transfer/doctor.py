"""Why a load does not help: findings about what is stored, this machine, and its cache roots."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.errors import StoreError
from b10_transfer.context import open_context
from b10_transfer.host_checks import check_execution, check_tools
from b10_transfer.local_scan import walk_roots
from b10_transfer.nearest import nearest_differences, other_namespaces, recorded_differences
from b10_transfer.reports import difference_lines, problem_lines
from b10_transfer.root_kinds import INDUCTOR
from b10_transfer.signing import KEY_FILE, store_exposure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b10_store.manifest_file import Header
    from b10_transfer.context import Context
    from b10_transfer.local_scan import Tree
    from b10_transfer.settings import Settings

_CPP_KERNEL = "ab/ckernel.main.so"
"""What a CPU will need, also before anything is here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at, in a word or two.
        text: what was found, and what to do about it where something is wrong.
        is_problem: whether it keeps the cache from helping.
    """

    subject: str
    text: str
    is_problem: bool = False


def examine(settings: Settings | None = None) -> list[Finding]:
    """Look at everything that decides whether a load helps.

    Nothing is changed, here or in the store.

    Args:
        settings: read from the environment variables by default.

    Raises:
        CacheValidationError: a setting is not acceptable.
    """
    context = open_context(settings)
    tree = walk_roots(context.roots)
    return [
        *_switch_findings(context),
        *_store_findings(context),
        *(Finding("cache root", line, is_problem=True) for line in context.problems),
        *_root_findings(tree),
        *_machine_findings(context, tree),
    ]


def _switch_findings(context: Context) -> Iterator[Finding]:
    if not context.settings.enabled:
        yield Finding(
            "settings", "the cache is off: set BASETEN_FS_ENABLED=1 to use it", is_problem=True
        )
    if not context.settings.load_enabled:
        yield Finding("settings", "loads are turned off by B10_CACHE_LOAD=0", is_problem=True)


def _store_findings(context: Context) -> Iterator[Finding]:
    folder = context.settings.store
    if not os.path.isdir(folder):
        yield Finding("store", f"there is no folder {folder} yet; a save makes it", is_problem=True)
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("store", f"{folder} is read-only here: loads work, saves do not")
    yield from _signing_findings(context)
    try:
        listing = context.store.listing()
    except (OSError, StoreError) as error:
        yield Finding("store", f"{folder} cannot be read: {error}", is_problem=True)
        return
    signed = bool(context.settings.signing_keys)
    for line in problem_lines(listing.problems, signed=signed):
        yield Finding("store", line, is_problem=True)
    own = [header for header in listing.headers if header.name.address == context.address]
    if own:
        yield from _own_findings(context, own[0])
    else:
        yield _miss_finding(context, listing.headers)


def _signing_findings(context: Context) -> Iterator[Finding]:
    keys = context.settings.signing_keys
    if keys:
        older = f"; {len(keys) - 1} older keys verify too" * (len(keys) > 1)
        yield Finding("signing", f"only signed manifests are used, and saves sign{older}")
        return
    exposed = store_exposure(context.settings.store)
    if exposed is not None:
        yield Finding(
            "signing",
            f"{exposed}: whoever can write there can run code here; set {KEY_FILE} on all hosts",
        )


def _own_findings(context: Context, header: Header) -> Iterator[Finding]:
    summary = header.summary
    yield Finding(
        "stored",
        f"{summary.artifacts} artifacts, {summary.stored_bytes / 1e6:.1f} MB compressed, for "
        f"environment {context.environment.key}",
    )
    differences = recorded_differences(context.environment, header.lineage.recorded)
    if differences:
        yield Finding(
            "stored",
            f"the machine that saved last had {difference_lines(differences)}: torch's own keys "
            "contain some of this, so it may compile all the same",
            is_problem=True,
        )


def _miss_finding(context: Context, headers: tuple[Header, ...]) -> Finding:
    key = context.environment.key
    if not headers:
        return Finding("stored", "nothing is stored yet, for any environment", is_problem=True)
    namespaces = other_namespaces(context.address, headers)
    if namespaces:
        names = ", ".join(name or "none" for name in namespaces)
        return Finding(
            "stored",
            f"nothing for environment {key} in this namespace, but in others: {names}; see "
            "B10_CACHE_NAMESPACE",
            is_problem=True,
        )
    near = difference_lines(nearest_differences(context.environment, headers))
    return Finding(
        "stored",
        f"nothing for environment {key}; of {len(headers)} others the nearest has {near}",
        is_problem=True,
    )


def _root_findings(tree: Tree) -> Iterator[Finding]:
    for root, found in tree:
        if found:
            size = sum(item.fingerprint.size for item in found)
            yield Finding(root.name, f"{root.folder}: {len(found)} files, {size / 1e6:.1f} MB")
        else:
            state = "no artifacts" if os.path.isdir(root.folder) else "not there"
            yield Finding(root.name, f"{root.folder}: {state}")


def _machine_findings(context: Context, tree: Tree) -> Iterator[Finding]:
    is_gpu = context.environment.is_gpu
    paths = [item.path for _, found in tree for item in found]
    needed = paths if is_gpu else [*paths, _CPP_KERNEL]
    for line in check_tools(context.settings.variables, needed):
        yield Finding("machine", line, is_problem=True)
    for root, found in tree:
        paths = [item.path for item in found]
        needed = paths if is_gpu or root.name != INDUCTOR.name else [*paths, _CPP_KERNEL]
        for line in check_execution(root, needed):
            yield Finding("machine", line, is_problem=True)
