"""`run` and `b10-compile-cache`: a server that runs under the cache, or beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from b10_transfer.cli import exit_codes
from b10_transfer.cli.command_table import RUN_OPTIONS, WATCH
from b10_transfer.cli.leaving import leave_unfinished
from b10_transfer.cli.progress_display import READING_STORE, progress_display
from b10_transfer.errors import CacheValidationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import FrameType

    from b10_transfer.cli.call import Call
    from b10_transfer.cli.command_values import Option
    from b10_transfer.servers.run.run_options import RunOptions


def run(call: Call) -> int:
    """Run a command under the cache; the exit code is the command's own."""
    from b10_transfer.servers.run import command as supervised

    options = _run_options(call)
    # The command may load and save by itself; it uses the same store.
    os.environ.update(call.changed_variables())
    return supervised.run(call.options.command_line, options)


def accompany(call: Call) -> int:
    """Load, wait for the server beside this process, and save; or run the given command."""
    if call.options.command_line:
        _refuse(
            call,
            (WATCH,),
            "is for a server beside this process; a command after -- is always watched",
        )
        return run(call)
    _refuse(call, RUN_OPTIONS, "is for a command after --")
    from b10_transfer.servers.follow.companion import accompany as go_along
    from b10_transfer.servers.options import ServerOptions

    settings = call.settings()
    options = ServerOptions.read(
        settings.variables,
        url=call.options.url,
        timeout=call.options.timeout,
        interval=call.options.interval,
        watch=call.options.watch,
        user=call.options.server_user,
    )
    stop = threading.Event()
    with _stopped_by_signals(stop) as received:
        report = go_along(settings, options, stop)
    if call.wants_json:
        call.console.json(report)
    code = report.exit_code
    if code == exit_codes.INTERRUPTED and signal.SIGTERM in received:
        code = exit_codes.TERMINATED
    leave_unfinished(code)
    return code


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Generator[list[int]]:
    """Set `stop` at the first signal; yield the list of the signals that arrived.

    A second signal ends the process at once; nothing half-made is left behind.
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse(call: Call, options: Iterable[Option], why: str) -> None:
    for option in options:
        given = getattr(call.options, option.flag[2:].replace("-", "_"))
        if given is not None:
            flag = f"--no-{option.flag[2:]}" if given is False else option.flag
            raise CacheValidationError(f"{flag} {why}")


def _run_options(call: Call) -> RunOptions:
    from b10_transfer.servers.run.run_options import RunOptions

    given = call.options
    usual = RunOptions()
    load_timeout = _seconds("--load-timeout", given.load_timeout)
    save_timeout = _seconds("--save-timeout", given.save_timeout)
    return RunOptions(
        load=given.load is not False,
        load_timeout=usual.load_timeout if load_timeout is None else load_timeout,
        save=given.save is not False,
        save_timeout=usual.save_timeout if save_timeout is None else save_timeout,
        url=given.url,
        ready_timeout=_seconds("--timeout", given.timeout),
        interval=_seconds("--interval", given.interval),
        server_user=given.server_user,
        display=lambda: progress_display(call.console, "loading", READING_STORE),
    )


def _seconds(flag: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise CacheValidationError(f"{flag} {text!r} is not a number of seconds: give 0 or more")
    return seconds
