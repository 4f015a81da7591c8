"""Cache folders that a program chooses for itself, after its start.

A variable that a process sets for itself shows in the processes that it starts later, such as
Inductor's workers and compilers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from b10_transfer.caches.folders import VARIABLES, as_seen_from
from b10_transfer.caches.roots import resolve_roots
from b10_transfer.errors import CacheValidationError
from b10_transfer.paths import is_below
from b10_transfer.servers.find.processes import (
    family_below,
    is_believed,
    variables_of,
    working_folder,
)
from b10_transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psutil

    from b10_transfer.servers.find.processes import User

_VARIABLES = tuple(sorted({name for names in VARIABLES.values() for name in names} - {"TMPDIR"}))
"""TMPDIR is left out: programs change it for other reasons too."""

_LIMIT = 8
"""A program that chooses more makes a new one for each of something; those are not followed."""


class ChosenFolders:
    """The cache folders that a command and its descendants were seen to choose."""

    def __init__(self, own: Settings, user: User | None) -> None:
        """Know only the folders that this process uses.

        Args:
            own: the settings of this process.
            user: whose processes are believed beside our own.
        """
        self._own = own
        self._user = user
        self._known = {_folders(own)}
        self._seen: set[tuple[str | None, ...]] = set()

    def look(self, pid: int) -> Settings | None:
        """Return settings that find a folder which was not known before; None when there is none.

        Args:
            pid: the process id of the command.
        """
        for process in family_below(pid):
            variables = self._variables_of(process) if len(self._known) <= _LIMIT else None
            found = None if variables is None else self._judge(variables)
            if found is not None:
                return found
        return None

    def _variables_of(self, process: psutil.Process) -> dict[str, str] | None:
        """Return the variables a process was started with; None when it is not believed."""
        if not is_believed(process, self._user):
            return None
        found = as_seen_from(working_folder(process), variables_of(process) or {})
        # By now another process may have its id, or it may have become another user's, who could
        # overwrite its variables.
        is_same = process.is_running() and is_believed(process, self._user)
        return found if is_same else None

    def _judge(self, variables: Mapping[str, str]) -> Settings | None:
        values = tuple(variables.get(name) for name in _VARIABLES)
        if values in self._seen:
            return None
        self._seen.add(values)
        chosen = {name: value for name, value in zip(_VARIABLES, values, strict=True) if value}
        try:
            settings = Settings.from_environment({**self._own.variables, **chosen})
        except CacheValidationError:
            return None
        folders = _folders(settings)
        ours = [folder for _, folder in _folders(self._own)]
        strange = [item for item in folders if not any(is_below(item[1], own) for own in ours)]
        if not strange or folders in self._known:
            # A cache that a server keeps below one of our roots is found there already.
            return None
        self._known.add(folders)
        return replace(settings, signing_keys=self._own.signing_keys)


def _folders(settings: Settings) -> frozenset[tuple[str, str]]:
    roots = resolve_roots(settings.variables, settings.roots, unresolved=[])
    return frozenset((root.name, root.folder) for root in roots)
