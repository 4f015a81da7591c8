"""`completion`: scripts for shells, written from the table of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_transfer.caches.roots import ROOT_NAMES
from b10_transfer.cli import exit_codes
from b10_transfer.cli.command_table import COMMANDS, COMPANION
from b10_transfer.cli.command_values import Command, Offers, Operand, Option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_transfer.cli.call import Call

_KEYS = "b10-transfer list --keys 2>/dev/null"


def completion(call: Call) -> int:
    """Print the script of a shell."""
    script = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[call.options.shell]()
    if call.wants_json:
        call.console.json({"shell": call.options.shell, "script": script})
    else:
        call.console.text(script)
    return exit_codes.DONE


def bash_script() -> str:
    """For bash 3.2 and later, with the package bash-completion or without."""
    names = " ".join(command.name for command in COMMANDS)
    cases = "\n".join(_bash_case(command, command.name) for command in COMMANDS)
    return f"""\
# bash completion of b10-transfer:  source <(b10-transfer completion bash)
_b10_transfer() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} name= at= i words=
    COMPREPLY=()
    if [[ ${{COMP_WORDS[0]##*/}} == {COMPANION.name} ]]; then
        name={COMPANION.name}
        at=0
    else
        for ((i = 1; i < COMP_CWORD; i++)); do
            case ${{COMP_WORDS[i]}} in
                --store|--namespace) ((i++)) ;;
                -*) ;;
                *) name=${{COMP_WORDS[i]}} at=$i; break ;;
            esac
        done
    fi
    case $prev in
        {_bash_folders()}) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        {_bash_roots()}) COMPREPLY=($(compgen -W "{" ".join(ROOT_NAMES)}" -- "$cur")); return ;;
        {_bash_values()}) return ;;
    esac
    case $name in
        "") words="{names} --json --store --namespace --help --version --quiet --verbose" ;;
        help) words="{names}" ;;
{cases}
{_bash_case(COMPANION, COMPANION.name)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o filenames -F _b10_transfer b10-transfer {COMPANION.name}"""


def _bash_case(command: Command, name: str) -> str:
    flags = " ".join([*_flags(command), "--help"])
    operand = command.operand
    lines = [f"        {name})"]
    if command.takes_command:
        lines += [
            "            for ((i = at + 1; i < COMP_CWORD; i++)); do",
            "                if [[ ${COMP_WORDS[i]} == -- ]]; then",
            "                    if declare -F _command_offset >/dev/null; then",
            "                        _command_offset $((i + 1))",
            "                    elif ((i + 1 == COMP_CWORD)); then",
            '                        COMPREPLY=($(compgen -c -- "$cur"))',
            "                    else",
            '                        COMPREPLY=($(compgen -f -- "$cur"))',
            "                    fi",
            "                    return",
            "                fi",
            "            done",
            f'            words="{flags} --" ;;',
        ]
    elif operand is not None and operand.offers is Offers.ADDRESSES:
        lines += [
            f'            words="{flags}"',
            f"            [[ $cur == -* ]] || words=$({_KEYS}) ;;",
        ]
    else:
        choices = " ".join(operand.choices) if operand is not None else ""
        lines.append(f'            words="{f"{choices} {flags}".strip()}" ;;')
    return "\n".join(lines)


def _bash_folders() -> str:
    return "|".join(_flags_with_value(Offers.FOLDERS))


def _bash_roots() -> str:
    return "|".join(_flags_with_value(Offers.ROOTS))


def _bash_values() -> str:
    return "|".join(_flags_with_value(Offers.NOTHING))


def _flags_with_value(offers: Offers) -> Sequence[str]:
    flags = {
        option.flag
        for command in (*COMMANDS, COMPANION)
        for option in command.all_options
        if option.value and option.offers is offers
    }
    return sorted(flags)


def zsh_script() -> str:
    """For zsh, with its completion system (compinit)."""
    described = "\n".join(
        f"        {_zsh_quoted(f'{command.name}:{command.summary}')}" for command in COMMANDS
    )
    cases = "\n".join(_zsh_case(command) for command in COMMANDS)
    return f"""\
#compdef b10-transfer {COMPANION.name}
# zsh completion of b10-transfer:  source <(b10-transfer completion zsh), after compinit
_b10_transfer_keys() {{
    local -a keys
    keys=(${{(f)"$({_KEYS})"}})
    compadd -a keys
}}
_b10_transfer_command() {{
    case $1 in
{cases}
{_zsh_case(COMPANION)}
    esac
}}
_b10_transfer() {{
    local curcontext=$curcontext state line
    local -A opt_args
    local -a names
    local -i at=${{words[(i)--]}}
    if ((at < CURRENT)); then
        shift $at words
        ((CURRENT -= at))
        if ((CURRENT == 1)); then _command_names -e; else _normal; fi
        return
    fi
    if [[ $service == {COMPANION.name} ]]; then
        _b10_transfer_command {COMPANION.name}
        return
    fi
    names=(
{described}
    )
    _arguments -C '(- *)--version[print the version]' '(- *)'{{-h,--help}}'[print help]' \\
        '1: :->command' '*:: :->rest'
    case $state in
        command) _describe -t commands command names ;;
        rest) _b10_transfer_command $words[1] ;;
    esac
}}
compdef _b10_transfer b10-transfer {COMPANION.name}"""


def _zsh_case(command: Command) -> str:
    specs = [_zsh_option(option, flag) for option in command.all_options for flag in option.flags]
    specs.append("'(- *)'{-h,--help}'[print help]'")
    if not command.takes_command:
        specs += _zsh_operand(command.operand)
    joined = " \\\n                ".join(specs)
    return f"        {command.name})\n            _arguments \\\n                {joined} ;;"


def _zsh_option(option: Option, flag: str) -> str:
    text = option.text.replace("[", r"\[").replace("]", r"\]")
    if not option.value:
        return _zsh_quoted(f"{flag}[{text}]")
    actions = {Offers.FOLDERS: "_files -/", Offers.ROOTS: f"({' '.join(ROOT_NAMES)})"}
    action = actions.get(option.offers, " ")
    return _zsh_quoted(f"{flag}=[{text}]:{option.value}:{action}")


def _zsh_operand(operand: Operand | None) -> list[str]:
    if operand is None:
        return []
    if operand.offers is Offers.ADDRESSES:
        return [_zsh_quoted(f"1:{operand.value}:_b10_transfer_keys")]
    return [_zsh_quoted(f"1:{operand.value}:({' '.join(operand.choices)})")]


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish_script() -> str:
    """For fish 3 and later."""
    names = " ".join(command.name for command in COMMANDS)
    lines = [
        "# fish completion of b10-transfer:  b10-transfer completion fish | source",
        "complete -c b10-transfer -f",
    ]
    for command in COMMANDS:
        first = f"not __fish_seen_subcommand_from {names}"
        lines.append(
            f"complete -c b10-transfer -n {_fish_quoted(first)} -a {command.name} "
            f"-d {_fish_quoted(command.summary)}"
        )
        condition = f"__fish_seen_subcommand_from {command.name}"
        lines += _fish_lines(f"complete -c b10-transfer -n {_fish_quoted(condition)}", command)
    lines += _fish_lines(f"complete -c {COMPANION.name}", COMPANION)
    return "\n".join(lines)


_FISH_VALUES = {
    Offers.FOLDERS: " -x -a '(__fish_complete_directories)'",
    Offers.ROOTS: f" -x -a '{' '.join(ROOT_NAMES)}'",
}


def _fish_lines(start: str, command: Command) -> list[str]:
    lines: list[str] = []
    for option in command.all_options:
        for flag in option.flags:
            form = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            value = ""
            if option.value:
                value = _FISH_VALUES.get(option.offers, " -x")
            lines.append(f"{start} {form}{value} -d {_fish_quoted(option.text)}")
    lines.append(f"{start} -s h -l help -d 'print help'")
    operand = command.operand
    if operand is not None and operand.offers is Offers.ADDRESSES:
        lines.append(f"{start} -a {_fish_quoted(f'({_KEYS})')}")
    elif operand is not None and operand.choices:
        lines.append(f"{start} -a {_fish_quoted(' '.join(operand.choices))}")
    elif command.takes_command:
        lines.append(f"{start} -F")
    return lines


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _flags(command: Command) -> list[str]:
    return [flag for option in command.all_options for flag in option.flags]
