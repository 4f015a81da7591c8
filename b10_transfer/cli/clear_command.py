"""`clear`: empty the cache roots of this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from b10_transfer.caches.roots import ROOT_NAMES, resolve_roots, with_store
from b10_transfer.cli import exit_codes
from b10_transfer.cli.progress_display import busy_display
from b10_transfer.cli.root_sizes import measure
from b10_transfer.errors import CacheValidationError
from b10_transfer.local.clear import clear_roots
from b10_transfer.operations.context import check_root, errors_as_cache_errors, open_context
from b10_transfer.units import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.cli.call import Call
    from b10_transfer.cli.root_sizes import RootSize
    from b10_transfer.local.clear import Cleared
    from b10_transfer.settings import Settings


def clear(call: Call) -> int:
    """Empty the cache roots; on a terminal only after the user agrees."""
    settings, console = call.settings(), call.console
    with errors_as_cache_errors(settings), busy_display(console, "looking at the cache roots"):
        roots = _chosen_roots(settings, call.options.roots)
        there = [size for root in roots if (size := measure(root, settings)).exists]
    if not call.wants_json:
        for size in there:
            console.paragraph((f"{size.name}: ",), str(size))
    if there and not call.options.yes:
        if not _can_answer(call):
            raise CacheValidationError(
                "nothing was removed: the input is not a terminal, so nobody can be asked; give "
                "--yes"
            )
        if not _agrees(call, there):
            console.note("nothing was removed")
            return exit_codes.PROBLEMS
    with errors_as_cache_errors(settings), busy_display(console, f"clearing {_text(there)}"):
        cleared = clear_roots(roots)
    _show(call, there, cleared)
    return exit_codes.PROBLEMS if any(item.problem for item in cleared) else exit_codes.DONE


def _show(call: Call, there: Sequence[RootSize], cleared: Sequence[Cleared]) -> None:
    console = call.console
    problems = [item.problem for item in cleared if item.problem]
    if call.wants_json:
        left = {item.root.name: item.left for item in cleared if item.left}
        foreign = {item.root.name: item.foreign for item in cleared if item.foreign}
        console.json({"cleared": there, "left": left, "foreign": foreign, "problems": problems})
        return
    for item in cleared:
        if item.note:
            console.note(item.note)
    for line in problems:
        console.note(line)
    if not problems:
        console.line("cleared" if there else "there is nothing to clear")


def _chosen_roots(settings: Settings, names: str | None) -> tuple[CacheRoot, ...]:
    """Return the cache roots of these names; by default all that are used.

    Raises:
        CacheValidationError: there is no root of that name, or it may not be emptied.
        OSError: the folder of a root cannot be found out.
    """
    if names is None:
        return open_context(settings).roots
    known = dict.fromkeys(ROOT_NAMES, "") | dict(settings.roots)
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in known:
            raise CacheValidationError(f"no cache root {name!r}: there are {', '.join(known)}")
    roots = resolve_roots(settings.variables, {name: known[name] for name in chosen})
    for root in roots:
        check_root(root, settings)
    return with_store(roots, settings.store)


def _can_answer(call: Call) -> bool:
    # Either may be None, when the standard stream was closed.
    stdin = sys.__stdin__ if sys.stdin is None else sys.stdin
    return stdin is not None and stdin.isatty() and call.console.err is not None


def _agrees(call: Call, sizes: Sequence[RootSize]) -> bool:
    return call.console.ask(f"Remove {_text(sizes)} from this machine?")


def _text(sizes: Sequence[RootSize]) -> str:
    roots = count_text(len(sizes), "cache root")
    return f"{roots} ({size_text(sum(size.bytes for size in sizes))})"
