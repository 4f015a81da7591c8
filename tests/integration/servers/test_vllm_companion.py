"""`save_vllm_compile_cache()`, in processes of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph
from tests.support.fake_servers import FakeServer, free_port, started_server, stranger
from tests.support.programs import run_python

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support.sites import Host, Site

TREE = compiled_graph("model")
CALL = """
import functools, logging, sys
logging.basicConfig(level=logging.INFO)
from b10_transfer.servers import saving as server_saving
from b10_transfer.servers.vllm import save_vllm_compile_cache
server_saving.Pace = functools.partial(server_saving.Pace, settle=0.3, settle_look=0.1)
print("returned", save_vllm_compile_cache())
assert "torch" not in sys.modules
"""


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return FakeServer(tmp_path / "fake").prepare(TREE)


def call(host: Host, **variables: str) -> subprocess.CompletedProcess[str]:
    done = run_python(CALL, host.variables(B10_TRANSFER_INTERVAL_S="0.1", **variables))
    assert (done.returncode, done.stdout) == (0, "returned None\n"), done.stderr
    return done


def test_it_saves_what_a_server_that_answers_has_compiled(
    site: Site, host: Host, server: FakeServer
) -> None:
    server.allow("ready")
    port = free_port()
    with started_server(server, host.variables(), "--port", str(port)):
        call(host, B10_TRANSFER_VLLM_URL=f"http://127.0.0.1:{port}/v1/models")
    new = site.host("new")
    new.load()
    assert new.tree() == TREE


def test_it_saves_for_a_server_that_this_process_has_started(
    site: Site, host: Host, server: FakeServer
) -> None:
    server.allow("ready")
    command = server.command("--port", str(free_port()))
    code = f"import subprocess; process = subprocess.Popen({command!r})\n{CALL}\nprocess.kill()"
    done = run_python(code, server.variables(host.variables(B10_TRANSFER_INTERVAL_S="0.1")))
    assert done.stdout == "returned None\n", done.stderr
    new = site.host("new")
    new.load()
    assert new.tree() == TREE


def test_it_loads_first(site: Site, host: Host) -> None:
    site.host("earlier", TREE).save()
    port = free_port()
    with stranger(port):
        call(host, B10_TRANSFER_VLLM_URL=f"http://127.0.0.1:{port}/")
    assert host.tree() == TREE


def test_it_does_not_wait_for_ever(site: Site, host: Host) -> None:
    host.write(TREE)
    done = call(
        host, B10_TRANSFER_TIMEOUT_S="1", B10_TRANSFER_VLLM_URL=f"http://127.0.0.1:{free_port()}"
    )
    assert "was not ready within 1 s" in done.stderr
    assert site.files("manifests") == []


def test_it_does_not_wait_for_a_shared_folder_for_ever(host: Host) -> None:
    """Nor does the end of the process wait for the thread that still does."""
    hanging = "import time; from b10_transfer.operations import transfer\n"
    hanging += "transfer.load = lambda *_, **__: time.sleep(1000)\n"
    hanging += "transfer.save = transfer.load\n"
    port = free_port()
    variables = host.variables(
        B10_TRANSFER_TIMEOUT_S="1", B10_TRANSFER_VLLM_URL=f"http://127.0.0.1:{port}"
    )
    with stranger(port):
        done = run_python(hanging + CALL, variables)
    assert done.stdout == "returned None\n", done.stderr
    assert "load: not done within 1 s" in done.stderr
    assert "save: not done within 1 s" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("B10_TRANSFER_TIMEOUT_S", "soon"),
        ("B10_TRANSFER_VLLM_URL", "localhost"),
        ("B10FS_CACHE_DIR", "relative"),
        ("BASETEN_FS_ENABLED", "0"),
    ],
)
def test_what_is_wrong_is_a_line_in_the_log(host: Host, variable: str, value: str) -> None:
    done = call(host, **{variable: value})
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:b10_transfer:")]
    assert len(lines) == 1, done.stderr
    assert variable in lines[0]
    assert "Traceback" not in done.stderr


def test_what_nobody_foresaw_does_not_come_out(host: Host) -> None:
    code = "import b10_transfer.servers.follow.companion as c; c.accompany = None\n" + CALL
    done = run_python(code, host.variables())
    assert done.stdout == "returned None\n", done.stderr
    assert "unexpected failure" in done.stderr
