"""Run a command under the cache: load, start it, save what it compiles, end as it ends.

The process that the user starts does next to nothing: with one thread it waits for signals, passes
them on, and collects its children (all of them: in a container it may be process 1). Whatever
touches the cache is done by helpers, processes forked from it. So a store that hangs, a crash in
native code or a fault of our own can neither delay a signal nor end the command. Time limits hold,
too: a process can be killed and left behind, whereas a thread that waits for a dead mount cannot,
and would keep this process from ending.

A helper that is killed leaves nothing half-made: artifacts are placed by rename, a manifest is
published by a rename, and the next load of this host removes what was staged. A helper that hangs
in the kernel, where SIGKILL does not reach it, dies as soon as it returns from there and does
nothing more. When this process is process 1 of its container, the kernel waits for that helper, as
for any process.

The command stays in the process group, with the terminal, the descriptors and the environment
variables of this process. So job control works as if it had been started directly, Ctrl-C reaches
it once, and whoever kills the group kills everything. When SIGKILL ends this process alone, the
kernel kills the command too: SIGKILL would have done that to a command started directly, and
nothing is left over. Replacing this process by the command would be simpler still, but then nobody
could save at the end, because a container ends with its first process.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from b10_transfer.servers.run.run_options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger = logging.getLogger("b10_transfer")

_SECRETS = "B10_CACHE_SIGNING_KEY"
"""The prefix of the variables that hold a signing secret, or the name of its file."""


def run(command: Sequence[str], options: RunOptions | None = None) -> int:
    """Run a command under the cache, and return the exit code for this process.

    The exit code is the command's own; 128 + n when signal n ended the command, or arrived before
    its start; 127 when there is no such command and 126 when it cannot be executed, which is
    checked before the load. The cache can delay the start and the end up to the time limits, and
    fails neither.

    Call it last, from the main thread of a process without other threads: afterwards signals are
    blocked, standard input and output are closed, and every child is collected.

    Args:
        command: the program, looked for in PATH, and its arguments; not empty.
        options: what to do around it.
    """
    used = options or RunOptions()
    if sys.platform != "linux":
        _logger.error("the command runs without the cache: `run` needs Linux")
        code = subprocess.call(list(command))  # noqa: S603  # the user's own command
        return code if code >= 0 else 128 - code
    from b10_transfer.servers.run.signals import Inherited

    # First: a KeyboardInterrupt in the middle of an import can be lost.
    inherited = Inherited.take()
    from b10_transfer.servers.run.processes import CannotStartError, find_program
    from b10_transfer.servers.run.supervisor import Supervisor

    try:
        program = find_program(command[0], os.environ)
        return Supervisor(used, inherited, _variables_for_command()).run(program, command)
    except CannotStartError as error:
        _logger.error("%s", error)  # noqa: TRY400  # as a shell says it
        return error.exit_code


def _variables_for_command() -> dict[str, str]:
    """Return the environment variables of this process, without the signing secret."""
    from b10_transfer.servers.run.processes import variables_of_caller

    names = [name for name in os.environ if name.startswith(_SECRETS)]
    if not names:
        return variables_of_caller()
    try:
        from b10_transfer.held_secret import guard_memory, take_secret

        take_secret()
        variables = variables_of_caller()
        guard_memory()
    except ImportError:
        # The helpers say that the cache cannot be used.
        return {name: value for name, value in variables_of_caller().items() if name not in names}
    return variables
