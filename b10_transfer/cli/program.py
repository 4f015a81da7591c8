"""`b10-transfer`: find the command, run it, and turn errors into an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from b10_transfer.cli import exit_codes
from b10_transfer.cli.call import Call, NotStoredError
from b10_transfer.cli.console import PROGRAM, Console
from b10_transfer.cli.leaving import leave_unfinished
from b10_transfer.cli.log_lines import showing_log, shown_level
from b10_transfer.cli.parser import (
    CommandParser,
    UsageError,
    check_options,
    find_command,
    program_help,
    split_arguments,
)
from b10_transfer.errors import CacheError, CacheValidationError
from b10_transfer.operations.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_transfer.cli.command_values import Command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    console = Console.of_process()
    name, rest = split_arguments(typed)
    if name == "help":
        name, rest = (rest[0], ("--help",)) if rest else ("", ("--help",))

    def run() -> int:
        if not name:
            return _run_without_command(rest, console)
        return _run_command(find_command(name), f"{PROGRAM} {name}", rest, console)

    return _guarded(run, console)


def main_of(command: Command, arguments: Sequence[str] | None) -> int:
    """Run a command that is a program of its own, and return its exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    console = Console.of_process(command.name)
    return _guarded(lambda: _run_command(command, command.name, typed, console), console)


def _run_command(command: Command, program: str, arguments: Sequence[str], console: Console) -> int:
    parser = CommandParser(command, program)
    options = parser.parse_call(arguments)
    if options is None:
        console.text(parser.format_help())
        return exit_codes.DONE
    module, _, function = command.run.partition(":")
    run: Callable[[Call], int] = getattr(import_module(module), function)
    console.is_quiet = bool(options.quiet)
    level = shown_level(options, is_chatty=command.takes_command)
    with showing_log(console, level, as_json=bool(options.json and command.takes_command)):
        return run(Call(options, console))


def _guarded(run: Callable[[], int], console: Console) -> int:
    """Run a function; turn an error into a line on standard error and an exit code."""
    try:
        return run()
    except UsageError as error:
        console.explain(str(error))
        return exit_codes.USAGE
    except (CacheError, OSError) as error:
        console.note(refusal(error) or str(error))
        if isinstance(error, CacheValidationError):
            return exit_codes.USAGE
        return exit_codes.NOT_STORED if isinstance(error, NotStoredError) else exit_codes.FAILED
    except (ImportError, MemoryError, RuntimeError) as error:
        reason = refusal(error)
        if reason is None:
            raise
        console.note(reason)
        return exit_codes.FAILED
    except KeyboardInterrupt:
        console.note_interrupt()
        leave_unfinished(exit_codes.INTERRUPTED)
        return exit_codes.INTERRUPTED


def _run_without_command(arguments: Sequence[str], console: Console) -> int:
    check_options(arguments)
    if "-V" in arguments or "--version" in arguments:
        import b10_transfer

        console.line(f"b10-transfer {b10_transfer.__version__}")
        return exit_codes.DONE
    if "-h" in arguments or "--help" in arguments:
        console.text(program_help())
        return exit_codes.DONE
    console.explain(program_help())
    return exit_codes.USAGE
