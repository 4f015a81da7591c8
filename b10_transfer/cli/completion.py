"""`completion`: scripts for shells, which shtab writes from the table of commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from b10_transfer.caches.roots import ROOT_NAMES
from b10_transfer.cli import exit_codes
from b10_transfer.cli.command_table import COMMANDS, COMPANION
from b10_transfer.cli.command_values import Offers
from b10_transfer.cli.console import PROGRAM
from b10_transfer.cli.parser import add_options
from b10_transfer.errors import CacheError

if TYPE_CHECKING:
    from b10_transfer.cli.call import Call
    from b10_transfer.cli.command_values import Command

_KEYS = f"{PROGRAM} list --keys 2>/dev/null"


def completion(call: Call) -> int:
    """Print the script of a shell."""
    script = completion_script(call.options.shell)
    if call.wants_json:
        call.console.json({"shell": call.options.shell, "script": script})
    else:
        call.console.text(script)
    return exit_codes.DONE


def completion_script(shell: str) -> str:
    """Return the script that completes both programs in a shell.

    Raises:
        CacheError: shtab is not installed, or does not know the shell.
    """
    try:
        import shtab
    except ImportError as error:
        raise CacheError(
            "completion needs the package shtab: pip install 'b10-transfer[completion]'"
        ) from error
    if shell not in shtab.SUPPORTED_SHELLS:
        raise CacheError(
            f"the installed shtab does not know {shell}: pip install -U 'b10-transfer[completion]'"
        )
    program = argparse.ArgumentParser(PROGRAM)
    program.add_argument("-V", "--version", action="store_true", help="print the version")
    commands = program.add_subparsers()
    for command in COMMANDS:
        _add(command, commands.add_parser(command.name, help=command.summary))
    companion = argparse.ArgumentParser(COMPANION.name)
    _add(COMPANION, companion)
    return "\n".join(shtab.complete(parser, shell) for parser in (program, companion))


def _add(command: Command, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command, and what shells offer for them."""
    offered = [(action, option.offers) for action, option in add_options(parser, command)]
    operand = command.operand
    if operand is not None:
        count = argparse.REMAINDER if command.takes_command else "?"
        choices = operand.choices or None
        action = parser.add_argument(operand.name, nargs=count, choices=choices, help=operand.text)
        offered.append((action, operand.offers))
    for action, offers in offered:
        if offers is not Offers.NOTHING:
            _offer(action, offers)


def _offer(action: argparse.Action, offers: Offers) -> None:
    import shtab

    if offers is Offers.ROOTS:
        action.choices = ROOT_NAMES
        return
    completers = {
        Offers.FOLDERS: shtab.DIRECTORY,
        Offers.COMMANDS: shtab.FILE,
        Offers.ADDRESSES: shtab.cmd(_KEYS),
    }
    vars(action)["complete"] = completers[offers]
