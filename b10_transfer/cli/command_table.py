"""The table of commands, from which parser, help and completion are made."""

from __future__ import annotations

from b10_transfer.cli.command_values import Command, Offers, Operand, Option

RUN_OPTIONS = (
    Option("--load", "load before the command starts (default)", negatable=True),
    Option(
        "--load-timeout",
        "seconds after which the command starts even if the load is not done (120)",
        "SECONDS",
    ),
    Option("--save", "save what the command compiles (default)", negatable=True),
    Option(
        "--save-timeout",
        "seconds that the last save may take after the command's end (10)",
        "SECONDS",
    ),
)
SERVER_OPTIONS = (
    Option(
        "--url",
        "the address that answers 200 when the server is ready: http://, https:// or "
        "unix:/path/of/socket (B10_TRANSFER_VLLM_URL; by default the server is found)",
        "URL",
    ),
    Option(
        "--timeout",
        "seconds until the server must be ready (1800; B10_TRANSFER_TIMEOUT_S)",
        "SECONDS",
    ),
    Option(
        "--interval",
        "seconds between two looks at the server (2; B10_TRANSFER_INTERVAL_S)",
        "SECONDS",
    ),
    Option(
        "--server-user",
        "the user that the server runs as, if it is another one; that user's processes are "
        "believed",
        "USER",
    ),
)
WATCH = Option(
    "--watch",
    "go on saving what later requests compile until the server ends; --no-watch: end after the "
    "first save (default: go on for ten minutes)",
    negatable=True,
)

_USE = "Use the cache"
_LOOK = "Look"
_KEEP = "Keep it in order"
_SHELL = "Your shell"

_ADDRESS = "KEY[.NAMESPACE]"
_COMMANDS = "b10_transfer.cli"

COMMANDS = (
    Command(
        "load",
        _USE,
        "Load the artifacts that are stored for this machine into its cache roots.",
        "Run it before the program that compiles. Files that exist already are left alone, so it "
        "is safe beside a running server.",
        (
            (
                "b10-transfer load; vllm serve MODEL",
                "start warm, or cold when nothing is stored yet",
            ),
            ("b10-transfer load --store /mnt/cache --namespace flux", "without any variables set"),
        ),
        f"{_COMMANDS}.transfer_commands:load",
    ),
    Command(
        "save",
        _USE,
        "Save the artifacts that were compiled here and are not stored yet.",
        "Run it after the warm-up, as often as you like: when nothing is new it costs next to "
        "nothing.",
        (
            ("b10-transfer save", "after the first requests were answered"),
            ("b10-transfer save --no-wait", "at shutdown: do not let other saves go first"),
        ),
        f"{_COMMANDS}.transfer_commands:save",
        options=(
            Option("--wait", "let saves that began earlier go first (default)", negatable=True),
        ),
    ),
    Command(
        "run",
        _USE,
        "Run a command: load first, start it, save what it compiles.",
        "Signals and the exit code are passed through. The cache never keeps the command from "
        "starting, and never delays it beyond --load-timeout. Options of run go before the "
        "command.",
        (
            ("b10-transfer run -- vllm serve MODEL --port 8000", "a model server"),
            ("b10-transfer run --no-save -- python model.py", "any program that compiles"),
        ),
        f"{_COMMANDS}.server_commands:run",
        operand=Operand("command_line", "COMMAND...", "the command", offers=Offers.COMMANDS),
        options=(*RUN_OPTIONS, *SERVER_OPTIONS),
        takes_command=True,
    ),
    Command(
        "list",
        _LOOK,
        "List what is stored, for all environments and namespaces.",
        "The newest come first. * marks what a load on this machine would use, + what it would "
        "use with another namespace. 'used' is the last load (noted once a day), or else the "
        "save. 'shared' is the part of 'stored' in packs that others reference too.",
        (
            ("b10-transfer list", "a table"),
            ("b10-transfer list --json | jq '.stored[].environment.device'", "for programs"),
            ("b10-transfer list --keys", "only KEY.NAMESPACE, one per line"),
        ),
        f"{_COMMANDS}.stored_commands:list_all",
        options=(Option("--keys", "print only KEY[.NAMESPACE], one per line"),),
    ),
    Command(
        "show",
        _LOOK,
        "Show one environment and namespace in full.",
        "The first digits of a key are enough. Without a key it shows what this machine would "
        "load.",
        (
            ("b10-transfer show", "this machine's"),
            ("b10-transfer show 3f9c01.flux", "namespace flux of the key that begins with 3f9c01"),
        ),
        f"{_COMMANDS}.stored_commands:show",
        operand=Operand(
            "address",
            _ADDRESS,
            "as `list` prints it, or its first digits (default: this machine's)",
            required=False,
            offers=Offers.ADDRESSES,
        ),
    ),
    Command(
        "info",
        _LOOK,
        "Show this machine: its environment key, settings, store and cache roots.",
        "Machines with the same environment key load each other's artifacts.",
        (
            ("b10-transfer info", "what this machine is, and what is stored for it"),
            ("b10-transfer info --json | jq -r .environment_key", "only the key"),
        ),
        f"{_COMMANDS}.machine_commands:info",
    ),
    Command(
        "doctor",
        _LOOK,
        "Explain why a load does not help, and what to do.",
        "It looks at settings, store, mount, machine and cache roots, and changes nothing.",
        (
            ("b10-transfer doctor", "everything that is wrong or worth knowing"),
            ("b10-transfer doctor --json | jq -r '.[].code'", "for programs"),
        ),
        f"{_COMMANDS}.machine_commands:doctor",
    ),
    Command(
        "gc",
        _KEEP,
        "Move unreferenced files to trash, and delete them a day later.",
        "Makes one visit. Saves make one a day, unless B10_AUTO_GC=0.",
        (
            ("b10-transfer gc --dry-run", "only say what would be done"),
            ("b10-transfer gc", "one visit; run it again tomorrow to delete what it moved"),
        ),
        f"{_COMMANDS}.upkeep_commands:gc",
        options=(
            Option("--dry-run", "change nothing", short="-n"),
            Option("--wait", "stay until trash is empty, which takes over a day"),
        ),
    ),
    Command(
        "check",
        _KEEP,
        "Look for damage in the store.",
        "Without --repair it changes nothing. A file that --repair moves aside is replaced by "
        "the next save of any host that has the bytes.",
        (
            ("b10-transfer check", "manifests, and the lengths of packs"),
            ("b10-transfer check --read-data --repair", "every byte, and repair"),
        ),
        f"{_COMMANDS}.upkeep_commands:check",
        options=(
            Option("--read-data", "read every byte of every pack"),
            Option(
                "--repair",
                "put intact packs back from trash, move damaged files to quarantine",
            ),
        ),
    ),
    Command(
        "remove",
        _KEEP,
        "Take one environment and namespace out of the store.",
        "Use it on a cache that does harm. Its manifests go to trash; for at least a day --undo "
        "puts them back.",
        (
            ("b10-transfer remove 3f9c01.flux", "as `list` prints it, or its first digits"),
            ("b10-transfer remove 3f9c01.flux --undo", "back again"),
        ),
        f"{_COMMANDS}.upkeep_commands:remove",
        operand=Operand(
            "address",
            _ADDRESS,
            "environment key, or its first digits, and the namespace",
            offers=Offers.ADDRESSES,
        ),
        options=(Option("--undo", "put it back"),),
    ),
    Command(
        "key",
        _KEEP,
        "Make a key pair, show this machine's keys, or sign with a new one.",
        "`new` writes a private key to --file and prints its public key. `show` lists which keys "
        "sign and verify here, without any secret. `sign` signs with the first key what the "
        "other keys of this machine signed: run it before you remove an old key.",
        (
            ("b10-transfer key new --file /secrets/cache-key", "for the hosts that save"),
            ("b10-transfer key show", "the public key, for all hosts"),
            ("b10-transfer key sign", "after a new key became the first one"),
        ),
        f"{_COMMANDS}.key_command:key",
        operand=Operand("action", "ACTION", "new, show or sign", choices=("new", "show", "sign")),
        options=(
            Option(
                "--file",
                "where `new` writes the private key; what `show` reads (default: the settings)",
                "FILE",
            ),
        ),
    ),
    Command(
        "clear",
        _KEEP,
        "Empty the cache roots of this machine; the store is not touched.",
        "Use it for a start that is cold on purpose. On a terminal it asks first.",
        (
            ("b10-transfer clear", "all cache roots"),
            ("b10-transfer clear --roots inductor,triton --yes", "these, without asking"),
        ),
        f"{_COMMANDS}.clear_command:clear",
        options=(
            Option(
                "--roots",
                "names as `info` prints them, separated by commas (all)",
                "NAMES",
                Offers.ROOTS,
            ),
            Option("--yes", "do not ask", short="-y"),
        ),
    ),
    Command(
        "completion",
        _SHELL,
        "Print a script with which a shell completes b10-transfer.",
        "It needs the package shtab: pip install 'b10-transfer[completion]'. For bash, add to "
        '~/.bashrc:  eval "$(b10-transfer completion bash)"',
        (
            ('eval "$(b10-transfer completion bash)"', "bash"),
            ('eval "$(b10-transfer completion zsh)"', "zsh, after compinit"),
            ("b10-transfer completion fish | source", "fish"),
        ),
        f"{_COMMANDS}.completion:completion",
        operand=Operand(
            "shell", "SHELL", "bash, zsh, fish or tcsh", choices=("bash", "zsh", "fish", "tcsh")
        ),
    ),
)
"""Every command, in the order of the help."""

COMPANION = Command(
    "b10-compile-cache",
    _USE,
    "Load, wait until the model server beside it is ready, and save.",
    "Start it in the background beside a server, or put the server's command after -- to run it "
    "under the cache. Without a URL it finds vLLM and SGLang servers by itself.",
    (
        ("b10-compile-cache & vllm serve MODEL", "beside the server"),
        ("b10-compile-cache -- vllm serve MODEL", "around it: the same as `b10-transfer run`"),
        ("b10-compile-cache --url http://localhost:9000/health &", "another server"),
    ),
    f"{_COMMANDS}.server_commands:accompany",
    operand=Operand("command_line", "[-- COMMAND...]", "the server's command", required=False),
    options=(*SERVER_OPTIONS, WATCH, *RUN_OPTIONS),
    takes_command=True,
)
"""The other program."""

BY_NAME = {command.name: command for command in COMMANDS}
