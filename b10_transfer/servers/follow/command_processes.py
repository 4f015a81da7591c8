"""The processes of a command: whether one is a server, and which cache folders they chose."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from b10_transfer.servers.find.processes import find_server_below, warn_of_strange
from b10_transfer.servers.follow.chosen_folders import ChosenFolders

if TYPE_CHECKING:
    import threading

    import psutil

    from b10_transfer.servers.find.processes import ServerProcess, User
    from b10_transfer.settings import Settings

_logger = logging.getLogger("b10_transfer")

_BEGIN_SECONDS = 15.0
"""A command that shows no server for this long may be none."""

_LOOK_SECONDS = 2.0


class CommandProcesses:
    """The command's process and its descendants.

    Attributes:
        has_server: whether one of them was a server, or must be one because a URL was given.
        chosen: settings for newly found cache folders that they chose; the reader removes them.
    """

    def __init__(self, command: int, own: Settings, user: User | None, *, has_server: bool) -> None:
        """Look at nothing yet.

        Args:
            command: the process id of the command.
            own: the settings of this process.
            user: whose processes are believed beside our own.
            has_server: whether the command is a server whatever its processes look like.
        """
        self.has_server = has_server
        self.chosen: list[Settings] = []
        self._command = command
        self._user = user
        self._folders = ChosenFolders(own, user)
        self._has_warned = False
        self._next_look = 0.0

    def find_server(self) -> ServerProcess | None:
        """Return the server among them, or None."""
        return find_server_below(self._command, self._user, self._pass_over)

    def await_server(self, stop: threading.Event) -> bool:
        """Wait until there is a server, the command seems to be none, or `stop` is set.

        Returns:
            Whether there is a server.
        """
        deadline = time.monotonic() + _BEGIN_SECONDS
        while not self.has_server and time.monotonic() < deadline:
            if self._look() or self.chosen or stop.wait(0.5):
                break
        return self.has_server

    def has_server_now(self) -> bool:
        """Return whether there is a server; looks at all processes, so not at every call."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._look()
        return self.has_server

    def _look(self) -> bool:
        if self.find_server() is not None:
            self.has_server = True
        chosen = self._folders.look(self._command)
        if chosen is not None:
            _logger.info(
                "the command chose cache folders for itself: they are saved; set their variables "
                "before `run` to load into them too"
            )
            self.chosen.append(chosen)
        return self.has_server

    def _pass_over(self, process: psutil.Process) -> None:
        """Another user's server is not followed, and nothing that it compiles is saved."""
        self.has_server = True
        if not self._has_warned:
            self._has_warned = True
            warn_of_strange(process)
