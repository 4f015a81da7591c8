from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from b10_transfer.servers.find.arguments import ServerArguments, read_arguments
from b10_transfer.servers.find.processes import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def arguments(
    *flags: str, kind: str = "vllm", folder: str = "", **variables: str
) -> ServerArguments:
    argv = ("vllm", "serve", "model", *flags)
    return read_arguments(ServerProcess(os.getpid(), 0.0, kind, argv, folder, variables))


def config(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def test_defaults() -> None:
    assert arguments() == ServerArguments("0.0.0.0", 8000)  # noqa: S104  # vLLM's
    assert arguments(kind="sglang") == ServerArguments("127.0.0.1", 30000)


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "8001", "--host", "::1"],
        ["--port=8001", "--host=::1"],
        ["--enable-x", "--port", "8001", "--y", "--host", "::1", "--z"],
        ["--port", "1", "--host=a", "--port", "8001", "--host", "::1"],
    ],
)
def test_flags(flags: list[str]) -> None:
    found = arguments(*flags)
    assert (found.host, found.port, found.is_port_known) == ("::1", 8001, True)


def test_the_port_that_vllm_uses_between_its_processes_is_not_that_of_its_api() -> None:
    assert arguments(VLLM_PORT="9999", VLLM_HOST_IP="10.0.0.1").port == 8000


def test_a_port_that_cannot_be_understood_is_not_known() -> None:
    for text in ("http", "0", "99999999", "-1", ""):
        assert not arguments(f"--port={text}").is_port_known or not text
    assert arguments("--port=x").port == 8000


def test_tls_and_unix_sockets() -> None:
    assert arguments("--ssl-keyfile", "k", "--ssl-certfile", "c").tls
    assert arguments("--ssl_certfile=c").tls
    assert arguments("--uds", "/run/s").uds == "/run/s"


def test_ranks_with_ports_of_their_own_have_one_more_for_all_of_them() -> None:
    assert arguments("--data-parallel-multi-port-external-lb", "--port", "8000").port == 9256
    flags = ["--data-parallel-multi-port-external-lb", "--data-parallel-supervisor-port", "77"]
    assert arguments(*flags).port == 77


def test_a_configuration_file(tmp_path: Path) -> None:
    text = (
        "\ufeff# comment\n"
        "model: org/model\n"
        "port:  8005   # ours\n"
        'host: "127.0.0.1"\n'
        "served-model-name: 'a # b'\n"
        "ssl-keyfile: /k\n"
        "uds:\n"
        "nested:\n"
        "  port: 1\n"
    )
    found = arguments("--config", config(tmp_path, text))
    assert found == ServerArguments("127.0.0.1", 8005, "", tls=True)


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    path = config(tmp_path, "port: 8005\n")
    assert arguments("--port", "8001", "--config", path).port == 8001
    assert arguments("--config", path, "--port", "8001").port == 8001


def test_a_configuration_file_beside_where_the_server_runs(tmp_path: Path) -> None:
    config(tmp_path, "port: 8005\n")
    assert arguments("--config=config.yaml", folder=str(tmp_path)).port == 8005


def test_a_linked_configuration_file(tmp_path: Path) -> None:
    """As Kubernetes places what a ConfigMap has."""
    (tmp_path / "data").mkdir()
    config(tmp_path / "data", "port: 8005\n")
    (tmp_path / "link.yaml").symlink_to("data/config.yaml")
    assert arguments("--config", str(tmp_path / "link.yaml")).port == 8005


def test_a_configuration_that_cannot_be_read_leaves_the_port_open(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00port: 1")
    (tmp_path / "long").write_text("a: b\n" * 20_000)
    (tmp_path / "deep").write_text("[" * 60_000)
    wrong = config(tmp_path, "port: [8005\n")
    names = ("none", "", "pipe", "bytes", "long", "deep")
    for path in (wrong, *(tmp_path / name for name in names)):
        found = arguments("--config", str(path))
        assert (found.port, found.is_port_known) == (8000, False), path
        assert arguments("--config", str(path), "--port", "1").is_port_known


def test_a_configuration_in_braces(tmp_path: Path) -> None:
    found = arguments("--config", config(tmp_path, '{"port": 8005, "ssl_keyfile": "k"}'))
    assert (found.port, found.tls, found.is_port_known) == (8005, True, True)


def test_anchors_and_tags_of_a_configuration_make_nothing(tmp_path: Path) -> None:
    laughs = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(40))
    text = f"a0: &a0 [x]\n{laughs}object: !!python/name:os.system\nport: 8005\nuds: null\n"
    found = arguments("--config", config(tmp_path, text))
    assert (found.port, found.uds) == (8005, "")


def test_without_pyyaml_it_is_said_once_that_the_file_was_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = config(tmp_path, "port: 8005\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    for _ in range(2):
        found = arguments("--config", path)
        assert (found.port, found.is_port_known) == (8000, False)
    (record,) = caplog.records
    assert path in record.getMessage()
    assert "pip install pyyaml" in record.getMessage()
