"""A command under the cache is as if it had been started directly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import run_mirror
from tests.support.cache_trees import compiled_graph
from tests.support.run_hung_mounts import hung_mount
from tests.support.run_programs import load_held_up, run_arguments, run_to_the_end, started_run
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.sites import Host

MIRROR = [
    sys.executable,
    "-I",
    "-S",
    str(run_mirror.__file__),
    "",
    "two words",
    "-x",
    "--",
    "\udcff",
]

COUNT_ORPHANS = """
import os, time
for _ in range(1000):
    child = os.fork()
    if not child:
        if not os.fork():
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
deadline = time.monotonic() + 300
def dead():
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found += open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                pass
    return found
while (left := dead()) and time.monotonic() < deadline:
    time.sleep(0.01)
print(os.getppid(), left, len(os.listdir("/proc/1/fd")))
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host whose store has something."""
    site = Site(tmp_path)
    site.host("earlier", compiled_graph("first")).save()
    return site.host("host")


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


@pytest.mark.parametrize(
    ("script", "code"), [("true", 0), ("exit 42", 42), ("kill -SEGV $$", 139), ("kill $$", 143)]
)
def test_the_exit_code_is_the_commands(host: Host, script: str, code: int) -> None:
    done = run_to_the_end(shell(script), host.variables(), load=False)
    assert done.returncode == code


def test_a_command_that_cannot_be_started_says_so_before_the_load(
    host: Host, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    # If the store were looked at first, a second line would tell of a load that was given up.
    with hung_mount(tmp_path / "hung") as hung:
        variables = host.variables(B10FS_CACHE_DIR=str(hung / "store"))
        for command, code in (
            ("no-such-command", 127),
            ("./no-such-command", 127),
            (str(tmp_path / "no" / "such"), 127),
            ("", 127),
            (str(plain), 126),
            (str(tmp_path), 126),
        ):
            done = run_to_the_end([command], variables, load_timeout=20)
            assert done.returncode == code, command
            assert done.stdout == b""
            assert command.encode() in done.stderr
            assert done.stderr.count(b"\n") == 1


def test_a_command_that_vanishes_during_the_load_is_not_found(host: Host, tmp_path: Path) -> None:
    # Its interpreter was never there.
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    done = run_to_the_end([str(program)], host.variables())
    assert done.returncode == 127
    assert str(program).encode() in done.stderr


def test_a_script_without_an_interpreter_is_one_for_the_shell(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 3\n')
    script.chmod(0o755)
    done = run_to_the_end([str(script), "a b"], host.variables())
    assert (done.stdout, done.returncode) == (b"a b\n", 3)
    script.write_bytes(b"\0\1\2")
    assert run_to_the_end([str(script)], host.variables()).returncode == 126


def test_input_and_output_pass_through_byte_for_byte(host: Host) -> None:
    data = os.urandom(1 << 20)
    done = run_to_the_end(["cat"], host.variables(), stdin=data)
    assert (done.stdout, done.returncode) == (data, 0)


def seen(
    arguments: Sequence[str], variables: dict[str, str], before: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """What the mirror, which writes to a descriptor that it inherits, tells."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading) as out,
        subprocess.Popen(
            [*before, *arguments],
            env={**variables, "MIRROR": str(writing)},
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
            **more,
        ),
    ):
        os.close(writing)
        told: dict[str, Any] = json.loads(out.read())
    told["descriptors"].remove(writing)
    told["variables"].remove(f"MIRROR={writing}")
    return told


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([], id="plain"),
        pytest.param(["nohup"], id="nohup"),
        pytest.param(["nice", "-n", "3"], id="nice"),
        pytest.param(["env", "--ignore-signal=INT,CHLD,PIPE", "--block-signal=USR1"], id="signals"),
        pytest.param(["sh", "-c", 'exec "$@" <&- >&-', "sh"], id="closed descriptors"),
        pytest.param(
            ["sh", "-c", 'umask 027; ulimit -n 200; exec "$@" 7</dev/null', "sh"], id="sh"
        ),
        pytest.param(["env", "LC_ALL=", "LANG=C"], id="C locale"),
        pytest.param(["setsid", "--wait"], id="session"),
    ],
)
def test_what_the_command_inherits_is_what_was_given(
    host: Host, tmp_path: Path, before: list[str]
) -> None:
    variables = host.variables(ODD="\udce9\n=", LC_CTYPE=None)
    direct = seen(MIRROR, variables, before, cwd=tmp_path)
    under = seen(run_arguments(MIRROR), variables, before, cwd=tmp_path)
    if "--ignore-signal=INT,CHLD,PIPE" in before:
        # Python takes this one for itself, and nobody can tell afterwards.
        pipe = 1 << 12
        for told in (direct, under):
            told["status"] = [
                f"SigIgn {int(line.split()[1], 16) & ~pipe:x}"
                if line.startswith("SigIgn")
                else line
                for line in told["status"]
            ]
    assert under == direct


def test_the_pipes_of_the_command_end_when_it_does(host: Host, tmp_path: Path) -> None:
    with hung_mount(tmp_path / "hung") as hung:
        variables = host.variables(B10FS_CACHE_DIR=str(hung / "store"))
        reading, writing = os.pipe()
        with subprocess.Popen(
            run_arguments(["sh", "-c", "echo out"], load=False, save_timeout=300),
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
        ) as process:
            os.close(writing)
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.read() == b"out\n"
            assert os.read(reading, 1) == b""
            os.close(reading)
            assert process.poll() is None
            # A process that ends lets go of its descriptors one after the other.
            time.sleep(0.2)
            assert process.poll() is None
            with pytest.raises(BrokenPipeError):
                os.write(process.stdin.fileno(), b"x")
            process.kill()


def test_it_keeps_nothing_open_beside_the_command(host: Host) -> None:
    with started_run(host) as run:
        run.wait_for(lambda: run.is_started and len(run.relatives()) == 2)
        run.wait_for(lambda: len(os.listdir(f"/proc/{run.pid}/fd")) == 4)
        names = {os.readlink(f"/proc/{run.pid}/fd/{number}") for number in (0, 1)}
        assert names == {"/dev/null"}


def has_pid_namespaces() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", "true"],  # noqa: S607
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


in_a_container = pytest.mark.skipif(
    not has_pid_namespaces(), reason="process namespaces are not permitted here"
)
CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@in_a_container
def test_as_process_1_it_collects_the_orphans_of_the_command(host: Host) -> None:
    command = [sys.executable, "-I", "-S", "-c", COUNT_ORPHANS]
    done = run_to_the_end(command, host.variables(), before=CONTAINER)
    parent, dead, descriptors = map(int, done.stdout.split())
    assert (parent, dead) == (1, 0)
    assert descriptors <= 4


@in_a_container
def test_as_process_1_it_passes_on_signals_and_the_exit_code(host: Host) -> None:
    with started_run(host, {"exit": 9}, before=CONTAINER) as run:
        run.wait_for(lambda: run.is_started)
        (first,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(int(first), 15)
        assert run.wait() == 9
        assert [item.name for item in run.signals()] == ["SIGTERM"]


@in_a_container
def test_as_process_1_it_is_ended_by_a_signal_before_the_command(host: Host) -> None:
    with load_held_up(host), started_run(host, before=CONTAINER) as run:
        run.wait_for(lambda: len(run.relatives()) == 2)
        time.sleep(0.3)
        (first,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(int(first), 15)
        assert run.wait() == 128 + 15
        assert not run.is_started


def test_no_process_for_a_helper_leaves_the_command_to_itself(host: Host) -> None:
    arguments = run_arguments(shell("exit 5"))
    arguments[2] = (
        "import os\ndef no(): raise BlockingIOError(11, 'no more')\nos.fork = no\n" + (arguments[2])
    )
    done = subprocess.run(arguments, env=host.variables(), capture_output=True, check=False)
    assert done.returncode == 5
    assert done.stderr.count(b"no process can be started") == 2
