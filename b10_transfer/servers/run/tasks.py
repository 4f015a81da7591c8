"""The work of the helpers beside a command: load before it starts, save what it compiles."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from b10_transfer.servers.options import ServerOptions
    from b10_transfer.servers.run.run_options import RunOptions
    from b10_transfer.settings import Settings

END_OF_COMMAND = b"%d %d\n"
"""Tells the helper that the command has ended: its exit code, and whether it was asked to end."""

_logger = logging.getLogger("b10_transfer")

_NICENESS = 10
_SILENCE_SECONDS = 2.0
"""A save that makes no progress for this long is waiting for others, or is stuck."""


def load(options: RunOptions) -> int:
    """Load, and log the result; SIGTERM ends it and removes what it staged.

    Returns:
        An exit code.
    """

    def stop(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    from b10_transfer.api import load_compile_cache

    with options.display() as on_progress:
        load_compile_cache(on_progress=on_progress)
    return 0


def watch(control: int, command: int, options: RunOptions) -> int:
    """Save what a command compiles, while it runs and once more when it has ended.

    A command that failed by itself, and a server that never was ready, is not saved at its end.

    Args:
        control: where END_OF_COMMAND arrives; its end of file means that the supervisor is gone.
        command: its process id; a server may be a descendant.
        options: of the run.

    Returns:
        An exit code.
    """
    # Saving competes with the command for processors.
    os.nice(_NICENESS)
    from b10_transfer.servers.follow.command import CommandFollower

    follower = CommandFollower(command, lambda own: _server_options(own, options))
    thread = threading.Thread(target=follower.run, daemon=True)
    thread.start()
    line = os.read(control, 64)
    if not line:
        return 1
    code, asked = (int(word) for word in line.split())
    if not follower.is_proven(succeeded=code == 0 or bool(asked)):
        _logger.info("nothing more is saved: the command failed, or was not ready")
        return 0
    follower.stop.set()
    while thread.is_alive():
        silent_since = max(time.monotonic(), follower.heard_at)
        thread.join(_SILENCE_SECONDS)
        if thread.is_alive() and follower.heard_at <= silent_since:
            # There is no time to let other hosts go first; two saves at once are safe.
            follower.save_at_once()
            break
    return 0


def _server_options(own: Settings, options: RunOptions) -> ServerOptions:
    """Return how to follow a server; options that are not acceptable are logged and ignored."""
    from b10_transfer.errors import CacheValidationError
    from b10_transfer.servers.options import ServerOptions

    try:
        return ServerOptions.read(
            own.variables,
            url=options.url,
            timeout=None if options.ready_timeout is None else str(options.ready_timeout),
            interval=None if options.interval is None else str(options.interval),
            watch=True,
            user=options.server_user,
        )
    except CacheValidationError as error:
        _logger.error("%s; the defaults are used to wait for a server", error)  # noqa: TRY400
        return ServerOptions(watch_seconds=math.inf)
