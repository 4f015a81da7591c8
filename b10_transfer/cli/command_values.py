"""The description of a command: its name, its options, its help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Offers(Enum):
    """The kind of values that a shell offers for completion."""

    NOTHING = auto()
    FOLDERS = auto()
    ADDRESSES = auto()
    COMMANDS = auto()
    ROOTS = auto()


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command.

    Attributes:
        flag: the flag, with its dashes.
        text: what it is for.
        value: the name of its value in the help; "" for a switch.
        offers: the values that a shell offers.
        negatable: whether it also has a `--no-...` form.
        short: a second, short flag.
    """

    flag: str
    text: str
    value: str = ""
    offers: Offers = Offers.NOTHING
    negatable: bool = False
    short: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """Every form of it."""
        negated = (f"--no-{self.flag[2:]}",) if self.negatable else ()
        return (*((self.short,) if self.short else ()), self.flag, *negated)


@dataclass(frozen=True, slots=True)
class Operand:
    """A value that a command takes without a flag.

    Attributes:
        name: the attribute that it becomes.
        value: what it is called.
        text: what it is for.
        required: whether the command needs it.
        offers: the values that a shell offers.
        choices: the only values that it may have; empty for any.
    """

    name: str
    value: str
    text: str
    required: bool = True
    offers: Offers = Offers.NOTHING
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        name: what the user types.
        topic: the heading under which the help lists it.
        summary: one line about it.
        text: what a user should know first.
        examples: (what is typed, what that does).
        run: `module:function`, imported when the command is used and not before.
        operand: the value that it takes without a flag, if any.
        options: its own options, beside those of every command.
        takes_command: whether the rest of the line is another program's command line.
    """

    name: str
    topic: str
    summary: str
    text: str
    examples: tuple[tuple[str, str], ...]
    run: str
    operand: Operand | None = None
    options: tuple[Option, ...] = ()
    takes_command: bool = False

    @property
    def all_options(self) -> tuple[Option, ...]:
        """Its own options and those of every command."""
        return (*self.options, *COMMON_OPTIONS)


COMMON_OPTIONS = (
    Option("--json", "print JSON, for programs"),
    Option("--store", "the shared folder, in place of B10FS_CACHE_DIR", "FOLDER", Offers.FOLDERS),
    Option("--namespace", "in place of B10_CACHE_NAMESPACE; '' for none", "NAME"),
    Option("--quiet", "show no progress, and log only errors", short="-q"),
    Option("--verbose", "show the whole log", short="-v"),
)
"""The options of every command."""
