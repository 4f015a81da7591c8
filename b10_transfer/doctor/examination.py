"""Look, one by one, at everything that decides whether a load helps.

Each examination has a module of its own. This one has their order, and the rule that none of them
may fail or hang the whole, however sick the machine is.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from b10_store import Address, StoreError
from b10_transfer.doctor import capabilities, loadable, machine, patience, space, store
from b10_transfer.doctor.findings import Code, Finding, Severity, problem
from b10_transfer.doctor.loaded_use import LoadedUse, loaded_use
from b10_transfer.doctor.misses import difference_findings, signing_findings, stored_findings
from b10_transfer.doctor.mount import Answers, Mounts, look_at, try_out
from b10_transfer.doctor.origins import origin_findings
from b10_transfer.doctor.patience import THREAD, no_answer
from b10_transfer.doctor.rehearsal import Rehearsal, rehearse
from b10_transfer.doctor.roots import CPP_KERNEL, LocalRoot, examine_root, find_roots
from b10_transfer.doctor.settings import (
    STORE,
    name_findings,
    read_settings,
    switch_findings,
)
from b10_transfer.doctor.stored import Stored, read_stored
from b10_transfer.keys import KEY, KEY_FILE
from b10_transfer.machine.environment import Environment
from b10_transfer.operations.context import open_store
from b10_transfer.operations.refusals import refusal
from b10_transfer.settings import DEFAULT_STORE
from b10_transfer.time_limit import TimeUpError, call_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from b10_store import Header
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.settings import Settings

__all__ = ["Code", "Finding", "Severity", "examine"]

_T = TypeVar("_T")

_READING_SECONDS = 5.0
_ROOT_SECONDS = 5.0
_DEVICE_SECONDS = 30.0
"""The limit for the environment; longer than others, since torch may have to be asked about the
GPU."""

_NO_STORE = "/nonexistent/store"
"""A stand-in for a folder that hangs, which nothing may touch any more."""


def examine(settings: Settings | None = None) -> list[Finding]:
    """Look at everything that decides whether a load helps.

    Nothing on this host is changed. In the store a few files are created and removed at once, to
    see what its mount can do, unless it is read-only or the cache is off.

    Args:
        settings: by default read from the environment variables; unacceptable values are then
            findings.

    Returns:
        The findings. Never raises, and takes well under a minute even when mounts hang.
    """
    examination = _Examination()
    examination.run(settings)
    return examination.findings


class _Examination:
    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._ignored: frozenset[str] = frozenset()
        self._mounts = Mounts()

    def run(self, settings: Settings | None) -> None:
        """Make all examinations and return their findings."""
        # The settings come later, because reading them already touches the folder.
        wanted = settings.store if settings else os.environ.get(STORE, DEFAULT_STORE)
        look = look_at(wanted) if os.path.isabs(wanted) else Answers()
        if look.pending:
            self._mounts.note_hanging(wanted)
        used = self._settings(settings, is_hanging=bool(look.pending))
        if used is None:
            return
        environment = self._ask(
            "environment", lambda: Environment.detect(used.variables), _DEVICE_SECONDS
        )
        if environment is not None:
            self._take("machine", lambda: machine.version_findings(environment))
            self._take("machine", lambda: machine.device_findings(environment))
        self._take("machine", lambda: machine.switch_findings(used.variables))
        can_read = STORE not in self._ignored or bool(look.pending)
        can_read = can_read and self._store(wanted, look, used)
        roots = self._roots(used, is_gpu=environment is not None and environment.is_gpu)
        stored: Stored | None = None
        if can_read and environment is not None:
            stored = self._stored(used, environment, roots)
        own = _own(stored, used, environment)
        if environment is not None:
            use = self._ask("cache root", lambda: loaded_use(roots)) or LoadedUse.UNKNOWN
            self._take("stored", lambda: difference_findings(own, environment, use))
            self._take("machine", lambda: self._tools(used, roots, is_gpu=environment.is_gpu))
            self._take("cache root", lambda: origin_findings(roots, environment))
        self._take("space", lambda: space.local_space_findings(roots, used, own))
        facts = look.facts("space")
        self._take("space", lambda: space.store_space_findings(wanted, facts, roots, own))

    def _settings(self, settings: Settings | None, *, is_hanging: bool) -> Settings | None:
        """Return the settings to go on with, without unacceptable values and folders that hang."""
        if settings is None:
            variables = dict(os.environ)
            if is_hanging:
                variables[STORE] = _NO_STORE
            # Each mount that hangs takes its time.
            seconds = 4 * patience.ANSWER_SECONDS
            reading = self._ask("settings", lambda: read_settings(variables, self._mounts), seconds)
            if reading is None:
                return None
            self.findings += reading.findings
            self._ignored, settings = reading.ignored, reading.settings
        elif is_hanging:
            settings = replace(settings, store=_NO_STORE)
        if is_hanging:
            self._ignored |= {STORE}
        if settings is not None:
            used = settings
            self._take("settings", lambda: switch_findings(used))
            self._take("settings", lambda: name_findings(used, self._ignored))
        return settings

    def _store(self, wanted: str, look: Answers, settings: Settings) -> bool:
        """Look at the store's folder, mount and clock; return whether its content can be read."""
        self._take("store", lambda: store.folder_findings(wanted, look))
        if not store.is_readable(look):
            return False
        before = len(self.findings)
        self._take("store", lambda: store.format_findings(open_store(settings)))
        is_ours = not any(item.is_problem for item in self.findings[before:])
        self._take("mount", lambda: capabilities.mount_findings(look))
        has_links = bool(look.facts("links").get("links"))
        if settings.enabled and is_ours and not has_links and store.is_writable(look):
            trial = try_out(settings.store, list(look.facts("listing").get("names", ())))
            self._take("mount", lambda: capabilities.trial_findings(trial))
        return is_ours

    def _stored(
        self, settings: Settings, environment: Environment, roots: Sequence[LocalRoot]
    ) -> Stored | None:
        address = Address(environment.key, settings.namespace)

        def read() -> Stored | OSError:
            try:
                return read_stored(open_store(settings), address, _READING_SECONDS)
            except OSError as error:
                return error

        stored = self._ask("store", read)
        if isinstance(stored, OSError):
            self.findings.append(store.unreadable(settings.store, stored))
            return None
        if stored is not None:
            done = self._rehearse(settings, environment, [local.root for local in roots])
            heads = done.heads if done is not None else None
            stored.note_problems(heads.problems if heads is not None else ())
            self._take("stored", lambda: stored_findings(stored, environment, address, heads))
            self._take("stored", lambda: loadable.manifest_findings(stored))
            if done is not None:
                self._take("stored", lambda: loadable.pack_findings(done))
                self._take("stored", lambda: loadable.placing_findings(done))
            if self._ignored.isdisjoint({KEY, KEY_FILE}):
                self._take("signing", lambda: signing_findings(stored, settings))
        return stored

    def _rehearse(
        self, settings: Settings, environment: Environment, roots: Sequence[CacheRoot]
    ) -> Rehearsal | None:
        done = self._ask(
            "stored", lambda: rehearse(open_store(settings), settings, environment, roots)
        )
        if not isinstance(done, StoreError):
            return done
        advice = "set LOCAL_WORK_DIR to a local folder that can be written"
        self.findings.append(problem("settings.work_folder", "settings", str(done), advice))
        return None

    def _roots(self, settings: Settings, *, is_gpu: bool) -> list[LocalRoot]:
        resolved = self._ask("cache root", lambda: find_roots(settings))
        if resolved is None:
            return []
        roots, unresolved = resolved
        self.findings += unresolved
        found: list[LocalRoot] = []
        for root in roots:
            answer = self._examine_root(root, settings, is_gpu=is_gpu)
            if answer is not None:
                found.append(answer)
        return found

    def _examine_root(
        self, root: CacheRoot, settings: Settings, *, is_gpu: bool
    ) -> LocalRoot | None:
        folder = self._mounts.hanging(root.folder)
        if folder:
            self.findings.append(
                problem(
                    "doctor.no_answer",
                    root.name,
                    f"{root.folder}: the mount at {folder} {no_answer()}",
                    "remount it, or put the cache root elsewhere: loads and saves wait for it",
                    folder=root.folder,
                    mounted_at=folder,
                )
            )
            return None
        answer = self._ask(
            root.name, lambda: examine_root(root, settings, is_gpu=is_gpu), _ROOT_SECONDS
        )
        if answer is None:
            return None
        local, findings = answer
        self.findings += findings
        return local

    def _tools(
        self, settings: Settings, roots: list[LocalRoot], *, is_gpu: bool
    ) -> Iterable[Finding]:
        paths = [item.path for local in roots for item in local.found]
        needed = paths if is_gpu else [*paths, CPP_KERNEL]
        return machine.tool_findings(settings.variables, needed)

    def _take(self, subject: str, look: Callable[[], Iterable[Finding]]) -> None:
        """Add the findings of an examination."""
        self.findings += self._ask(subject, lambda: list(look())) or []

    def _ask(self, subject: str, look: Callable[[], _T], seconds: float | None = None) -> _T | None:
        """Return a function's result; None, and a finding, when it fails or does not answer."""
        limit = patience.ANSWER_SECONDS if seconds is None else seconds
        try:
            return call_within(limit, look, THREAD)
        except TimeUpError:
            self.findings.append(
                problem(
                    "doctor.no_answer",
                    subject,
                    f"there was no answer within {limit:.0f} s",
                    "look for a mount or a driver that hangs: loads and saves wait for it too",
                )
            )
        except Exception as error:  # noqa: BLE001 # a sick machine may raise anything
            self.findings.append(
                problem(
                    "doctor.failed",
                    subject,
                    f"it cannot be examined: {refusal(error) or str(error) or repr(error)}",
                    "report it, unless the text says what to do",
                )
            )
        return None


def _own(
    stored: Stored | None, settings: Settings, environment: Environment | None
) -> Header | None:
    """Return the newest manifest of this environment and namespace."""
    if stored is None or environment is None:
        return None
    address = Address(environment.key, settings.namespace)
    return next((item for item in stored.newest() if item.name.address == address), None)
