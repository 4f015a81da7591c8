"""The description of a command: its name, its options, its help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Offers(Enum):
    """The kind of values that a shell offers."""

    NOTHING = auto()
    FOLDERS = auto()
    ADDRESSES = auto()
    COMMANDS = auto()
    ROOTS = auto()


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command.

    Attributes:
        flag: with its dashes.
        text: what it is for.
        value: what its value is called; "" for a switch.
        offers: what can be its value.
        negatable: whether there is `--no-...` too.
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
        name: of the attribute that it becomes.
        value: what it is called.
        text: what it is for.
        required: whether the command needs it.
        offers: what it can be.
        choices: what it has to be, where that is known.
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
        name: what is typed.
        topic: under which it is listed.
        summary: in a line.
        text: what one should know before using it.
        examples: (what is typed, what that does).
        run: `module:function`, imported when the command is used and not before.
        operand: what it takes without a flag, if anything.
        options: beside those which every command has.
        takes_command: whether the rest of the line is another program's.
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
    Option("--quiet", "show no progress, and of what is logged errors alone", short="-q"),
    Option("--verbose", "show all that is logged", short="-v"),
)
"""The options of every command."""
