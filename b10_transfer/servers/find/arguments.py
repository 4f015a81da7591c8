"""Where an inference server listens, according to its command line and its configuration file."""

from __future__ import annotations

import functools
import logging
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from b10_transfer.servers.find.processes import ServerProcess

# vllm/entrypoints/openai/cli_args.py; sglang/srt/server_args.py
_DEFAULT_PORTS = {"vllm": 8000, "sglang": 30000}
_DEFAULT_HOSTS = {"vllm": "0.0.0.0", "sglang": "127.0.0.1"}  # noqa: S104  # where others listen
_SUPERVISOR_PORT = 9256
_CONFIG_LIMIT = 1 << 16
_YAML_NULL = "tag:yaml.org,2002:null"
_logger = logging.getLogger("b10_transfer")


@dataclass(frozen=True, slots=True)
class ServerArguments:
    """Where a server was told to listen.

    Attributes:
        host: the address that it binds, as written.
        port: its TCP port.
        uds: the Unix socket that it listens on instead; "" for none.
        tls: whether it speaks HTTPS.
        is_port_known: False when a configuration file that cannot be read may name another port.
    """

    host: str
    port: int
    uds: str = ""
    tls: bool = False
    is_port_known: bool = True


def read_arguments(server: ServerProcess) -> ServerArguments:
    """Read a server's command line, and the file that `--config` names.

    The command line wins, as in vLLM and SGLang. VLLM_PORT is ignored: vLLM uses it between its own
    processes.
    """
    flags = _flags(server.argv)
    config, is_read = _config(server, flags)
    chosen = {**config, **flags}
    port, is_number = _port(server.kind, chosen)
    return ServerArguments(
        host=chosen.get("host") or _DEFAULT_HOSTS[server.kind],
        port=port,
        uds=chosen.get("uds", ""),
        tls=bool(chosen.get("ssl-keyfile") or chosen.get("ssl-certfile")),
        is_port_known=is_number and (is_read or "port" in flags),
    )


def _port(kind: str, chosen: Mapping[str, str]) -> tuple[int, bool]:
    """Return the port, and whether its text could be parsed."""
    name, default = "port", _DEFAULT_PORTS[kind]
    if "data-parallel-multi-port-external-lb" in chosen:
        # Each rank has its own port; one further port tells whether all ranks are ready
        # (vllm/entrypoints/openai/dp_supervisor.py).
        name, default = "data-parallel-supervisor-port", _SUPERVISOR_PORT
    text = chosen.get(name, "")
    if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 1 << 16:
        return int(text), True
    return default, not text


def _flags(argv: Sequence[str]) -> dict[str, str]:
    """Return the value of each `--name`; underscores count as hyphens, and the last value wins."""
    found: defaultdict[str, str] = defaultdict(str)
    name = ""
    for item in argv[1:]:
        if item.startswith("--"):
            written, has_value, value = item[2:].partition("=")
            name = written.replace("_", "-")
            found[name] = value
            if has_value:
                name = ""
        elif name:
            found[name] = item
            name = ""
    return dict(found)


def _config(server: ServerProcess, flags: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """Return the options of the configuration file, and whether all of it could be read."""
    path = flags.get("config", "")
    if not path:
        return {}, True
    location = os.path.join(server.folder, path)
    if not os.path.isabs(location):
        return {}, False
    # The server may see other files under this name than this process, in another container.
    for form in (f"/proc/{server.pid}/root{location}", location):
        try:
            text = _read_text(form)
        except (OSError, ValueError):
            continue
        return _parse_config(text, location)
    return {}, False


def _parse_config(text: str, location: str) -> tuple[dict[str, str], bool]:
    """Return the top-level names and values of a YAML file, and whether it could be read."""
    try:
        import yaml
    except ImportError:
        _say_unread(location)
        return {}, False
    try:
        # Only the nodes are read: no objects are constructed, and anchors are not followed.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return {}, False
    if not isinstance(root, yaml.MappingNode):
        return {}, root is None
    return {
        name.value.replace("_", "-"): "" if value.tag == _YAML_NULL else value.value
        for name, value in root.value
        if isinstance(name, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }, True


@functools.cache
def _say_unread(location: str) -> None:
    _logger.warning(
        "the server's configuration file %s was not read, because PyYAML is not installed here: "
        "pip install pyyaml, or give --url",
        location,
    )


def _read_text(location: str) -> str:
    """Return the text of a regular file; a pipe is not read, since that could block.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not text, or too long to be a configuration.
    """
    with open(location, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{location} is not a regular file")
        data = file.read(_CONFIG_LIMIT + 1)
    if len(data) > _CONFIG_LIMIT:
        raise ValueError(f"{location} is too long")
    return data.decode("utf-8-sig")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
