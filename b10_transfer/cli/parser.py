"""Parse arguments, explain them, and suggest what was meant when they are wrong."""

from __future__ import annotations

import argparse
import textwrap
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from b10_transfer.cli.command_table import BY_NAME, COMMANDS
from b10_transfer.cli.command_values import COMMON_OPTIONS, Command, Operand, Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH = 80
_INDENT = 26

_ABOUT = """\
Share what compilers made (torch.compile, Triton, vLLM, ...) between the
replicas of a model server: the first one compiles, every later one loads.
"""
_START = """\
Start here
  export BASETEN_FS_ENABLED=1 B10FS_CACHE_DIR=/mnt/shared/compile_cache
  b10-transfer run -- vllm serve MODEL      # or: load; your program; save

Every command takes --json, --store FOLDER, --namespace NAME, -q and -v, and
`b10-transfer COMMAND --help` has examples. b10-transfer --version (-V) prints
the version. A second program, b10-compile-cache, goes beside a server.
"""
_PROGRAM_FLAGS = (("-h", "--help"), ("-V", "--version"))
_EXIT_CODES = """\
Exit codes
  0  done, or nothing to do         3  nothing is stored for it
  1  something is not in order      4  failed: no store, no space, cache is off
  2  wrong usage, or bad settings   5  the server was not ready in time
                                    6  the server ended before it was ready
With a command behind --, the exit code is the command's own.
"""


class UsageError(Exception):
    """The arguments are wrong; the message is complete."""


class SplitArguments(NamedTuple):
    """A command line, split at the command's name.

    Attributes:
        name: the command's name; "" when none was given.
        arguments: all other words.
    """

    name: str
    arguments: tuple[str, ...]


class CommandParser(argparse.ArgumentParser):
    """The parser of one command."""

    def __init__(self, command: Command, program: str) -> None:
        """Build it from the command's row of the table.

        Args:
            command: the row.
            program: what the user types for it, such as `b10-transfer load`.
        """
        operand = f" {command.operand.value}" if command.operand else ""
        if command.operand and not command.operand.required and "[-" not in operand:
            operand = f" [{command.operand.value}]"
        elif command.takes_command and "--" not in operand:
            operand = f" --{operand}"
        super().__init__(
            prog=program,
            usage=f"{program} [OPTIONS]{operand}",
            add_help=False,
            allow_abbrev=False,
        )
        self._command = command
        add_options(self, command)
        if command.operand is not None and not command.takes_command:
            self.add_argument(command.operand.name, nargs="?")

    def parse_call(self, arguments: Sequence[str]) -> argparse.Namespace | None:
        """Parse the arguments after the command's name.

        Returns:
            The options; None when help is asked for.

        Raises:
            UsageError: they are wrong.
        """
        command = self._command
        own, rest = _split_off_command(command, arguments)
        if "-h" in own or "--help" in own:
            return None
        options, unknown = self.parse_known_args(own)
        for word in unknown:
            self.error(self._unknown(word))
        operand = command.operand
        if command.takes_command:
            options.command_line = rest
            if operand is not None and operand.required and not rest:
                self.error("there is no command to run: give it after --")
        elif operand is not None:
            self._check_operand(operand, getattr(options, operand.name))
        return options

    def _check_operand(self, operand: Operand, value: str | None) -> None:
        if value is None and operand.required:
            self.error(f"{operand.value} is missing: {operand.text}")
        if value is not None and operand.choices and value not in operand.choices:
            choices = ", ".join(operand.choices)
            self.error(f"{value!r} is not one of {choices}{_meant(value, operand.choices)}")

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with what is wrong and where to read more."""
        raise UsageError(
            f"{self.prog}: {message}\n\nusage: {self.usage}\n       {self.prog} --help"
        )

    def format_help(self) -> str:
        """Return the whole help of the command."""
        command = self._command
        rows = [] if command.operand is None else [(command.operand.value, command.operand.text)]
        rows += [
            (f"{', '.join(option.flags)} {option.value}".rstrip(), option.text)
            for option in command.all_options
        ]
        rows.append(("-h, --help", "print this"))
        return "\n".join(
            [
                f"usage: {self.usage}\n",
                textwrap.fill(command.summary, _WIDTH) + "\n",
                textwrap.fill(command.text, _WIDTH) + "\n",
                "Options\n" + "".join(_row(*row) for row in rows),
                "Examples\n" + "".join(_example(*example) for example in command.examples),
            ]
        ).rstrip()

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument: {word!r}"
        flags = [flag for option in self._command.all_options for flag in option.flags]
        return f"there is no option {word!r}{_meant(word.partition('=')[0], flags)}"


def add_options(
    parser: argparse.ArgumentParser, command: Command
) -> list[tuple[argparse.Action, Option]]:
    """Add the options of a command to a parser; return each with its argparse action."""
    return [(_add_option(parser, option), option) for option in command.all_options]


def _add_option(parser: argparse.ArgumentParser, option: Option) -> argparse.Action:
    names = (*((option.short,) if option.short else ()), option.flag)
    if option.negatable:
        negatable = argparse.BooleanOptionalAction
        return parser.add_argument(*names, action=negatable, default=None, help=option.text)
    if option.value:
        return parser.add_argument(*names, default=None, help=option.text)
    return parser.add_argument(*names, action="store_true", help=option.text)


def split_arguments(arguments: Sequence[str]) -> SplitArguments:
    """Find the command's name; options that every command has may stand before it."""
    place = _first_word(arguments, COMMON_OPTIONS_WITH_VALUE)
    if place is None:
        return SplitArguments("", tuple(arguments))
    return SplitArguments(arguments[place], (*arguments[:place], *arguments[place + 1 :]))


def find_command(name: str) -> Command:
    """Return the command of that name.

    Raises:
        UsageError: there is none; the message suggests what was meant.
    """
    command = BY_NAME.get(name)
    if command is None:
        raise UsageError(
            f"b10-transfer: there is no command {name!r}{_meant(name, BY_NAME)}\n\n"
            "usage: b10-transfer COMMAND [OPTIONS]\n       b10-transfer --help"
        )
    return command


def check_options(words: Iterable[str]) -> None:
    """Check that options without a command are options of the program.

    Raises:
        UsageError: one is not; the message suggests what was meant.
    """
    known = [flag for option in COMMON_OPTIONS for flag in option.flags]
    known += [flag for flags in _PROGRAM_FLAGS for flag in flags]
    for word in words:
        flag = word.partition("=")[0]
        if word.startswith("-") and word != "--" and flag not in known:
            raise UsageError(
                f"b10-transfer: there is no option {word!r}{_meant(flag, known)}\n\n"
                "usage: b10-transfer COMMAND [OPTIONS]\n       b10-transfer --help"
            )


def program_help() -> str:
    """Return what `b10-transfer --help` prints."""
    topics: dict[str, list[Command]] = {}
    for command in COMMANDS:
        topics.setdefault(command.topic, []).append(command)
    lists = [
        f"{topic}\n" + "".join(f"  {item.name:<11}{item.summary}\n" for item in commands)
        for topic, commands in topics.items()
    ]
    parts = ["usage: b10-transfer COMMAND [OPTIONS]\n", _ABOUT, *lists, _START, _EXIT_CODES]
    return "\n".join(parts).rstrip()


COMMON_OPTIONS_WITH_VALUE = frozenset(option.flag for option in COMMON_OPTIONS if option.value)


def _split_off_command(
    command: Command, arguments: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the command's own arguments, and those of the program that it starts."""
    if not command.takes_command:
        return arguments, ()
    with_value = frozenset(option.flag for option in command.all_options if option.value)
    place = _first_word(arguments, with_value)
    if "--" in arguments and (place is None or arguments.index("--") < place):
        place = arguments.index("--")
        return arguments[:place], arguments[place + 1 :]
    return (arguments, ()) if place is None else (arguments[:place], arguments[place:])


def _first_word(arguments: Sequence[str], with_value: frozenset[str]) -> int | None:
    """Return the index of the first argument that is neither an option nor its value."""
    is_value = False
    for place, word in enumerate(arguments):
        if is_value:
            is_value = False
        elif word in with_value:
            is_value = True
        elif word == "--":
            return place + 1 if place + 1 < len(arguments) else None
        elif not word.startswith("-"):
            return place
    return None


def _meant(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _row(left: str, text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH - _INDENT)
    first = f"  {left}"
    if len(first) + 2 > _INDENT:
        lines = [first, *(" " * _INDENT + line for line in lines)]
    else:
        lines = [first.ljust(_INDENT) + lines[0], *(" " * _INDENT + line for line in lines[1:])]
    return "".join(f"{line}\n" for line in lines)


def _example(line: str, text: str) -> str:
    return f"  {line}\n      {text}\n"
