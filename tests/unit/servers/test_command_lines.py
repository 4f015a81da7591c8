from __future__ import annotations

import pytest

from b10_transfer.servers.find.command_lines import server_kind

SERVERS = {
    "/opt/venv/bin/vllm serve org/model --port 8001": "vllm",
    "vllm serve": "vllm",
    "/usr/bin/python3 /opt/venv/bin/vllm serve org/model": "vllm",
    "python3.12 -u -X dev -W ignore /opt/venv/bin/vllm serve m": "vllm",
    "python -m vllm.entrypoints.openai.api_server --model m": "vllm",
    "python -mvllm.entrypoints.openai.api_server --model m": "vllm",
    "python3 -m vllm.entrypoints.cli.main serve m": "vllm",
    "python /src/vllm/entrypoints/openai/api_server.py --model m": "vllm",
    "python -m sglang.launch_server --model-path m": "sglang",
    "python3 -O -m sglang.launch_server": "sglang",
    "/opt/venv/bin/python /opt/venv/bin/sglang serve --model-path m": "sglang",
    "python /sgl/sglang/launch_server.py": "sglang",
}
OTHERS = [
    "",
    "vllm",
    "vllm serve --help",
    "vllm serve --help=page",
    "python -m sglang.launch_server -h",
    "vllm bench serve",
    "vllm chat serve",
    "python",
    "python -c import_vllm serve",
    "python -m http.server 8000",
    "python - vllm serve",
    "python /home/me/serve.py vllm serve",
    "python /home/me/not_vllm serve",
    "python /home/me/launch_server.py",
    "bash start.sh vllm serve m",
    "tini -- vllm serve m",
    "uv run vllm serve m",
    "sudo vllm serve m",
    "python /opt/venv/bin/b10-compile-cache -- vllm serve m",
    "grep vllm serve",
]


@pytest.mark.parametrize(("line", "kind"), SERVERS.items())
def test_the_command_line_of_a_server(line: str, kind: str) -> None:
    assert server_kind(line.split()) == kind


@pytest.mark.parametrize("line", OTHERS)
def test_the_command_line_of_something_else(line: str) -> None:
    assert server_kind(line.split()) == ""


def test_a_shell_command_that_starts_a_server_is_none() -> None:
    assert server_kind(["sh", "-c", "vllm serve m"]) == ""
