"""What `doctor` says of the cache roots: whose they are, and whether they can be used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_store.paths import RECORD_FOLDER
from b10_transfer.caches.kinds import INDUCTOR
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.caches.unusable_roots import find_obstacle
from tests.support.cache_trees import compiled_graph
from tests.support.crowd import OTHER_USER, open_the_way_to
from tests.support.doctor_views import only_problem, problem_codes
from tests.support.machines import GPU_MACHINE, running_on
from tests.support.mounts import no_execution, read_only, tmpfs
from tests.support.programs import run_python
from tests.support.sites import Site

if TYPE_CHECKING:
    from tests.support.sites import Host

TREE = compiled_graph("model")

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


def test_a_root_that_every_user_can_write_is_a_problem(host: Host) -> None:
    host.root.mkdir(parents=True)
    host.root.chmod(0o777)
    finding = only_problem(host, "root.exposed")
    assert f"{host.root} can be written by every user" in finding.text
    assert "chmod o-w" in finding.advice
    strict = only_problem(host, "root.exposed", B10_STRICT_ROOTS="1")
    assert "it is left out because of B10_STRICT_ROOTS" in strict.text


@needs_root
def test_a_root_of_another_user_is_a_problem(host: Host) -> None:
    host.root.mkdir(parents=True)
    os.chown(host.root, OTHER_USER, OTHER_USER)
    finding = only_problem(host, "root.exposed")
    assert f"belongs to another user (uid {OTHER_USER})" in finding.text
    assert "chown" in finding.advice


def test_a_root_that_cannot_be_used_is_a_problem(host: Host) -> None:
    finding = only_problem(host, "root.unusable", FLASHINFER_WORKSPACE_BASE=str(host.store))
    assert "the cache root flashinfer" in finding.text
    # One that most models need makes a load fail; that is a finding like the others.
    inside = str(host.store / "inductor")
    finding = only_problem(host, "root.unusable", TORCHINDUCTOR_CACHE_DIR=inside)
    assert finding.subject == "inductor"


def test_a_root_that_cannot_be_written_is_a_problem(host: Host) -> None:
    host.root.mkdir(parents=True)
    with read_only(host.root):
        finding = only_problem(host, "root.unwritable")
    assert f"{host.root} cannot be written by this user" in finding.text


def test_a_root_that_could_not_be_made_is_a_problem(host: Host) -> None:
    parent = host.folder / "fixed"
    parent.mkdir(parents=True)
    with read_only(parent):
        finding = only_problem(
            host, "root.unwritable", TORCHINDUCTOR_CACHE_DIR=str(parent / "a" / "root")
        )
    assert f"as it would be made in {parent}" in finding.text


def test_a_root_that_could_not_be_made_is_no_problem_where_nobody_uses_it(host: Host) -> None:
    home = host.folder / "fixed"
    home.mkdir(parents=True)
    host.variables()
    with read_only(home):
        assert problem_codes(host, HOME=str(home), TRITON_CACHE_DIR=None) == []


def test_a_root_that_is_a_link_to_nowhere_is_a_problem(host: Host) -> None:
    host.root.parent.mkdir(parents=True, exist_ok=True)
    host.root.symlink_to(host.folder / "purged")
    finding = only_problem(host, "root.unwritable")
    assert f"is a link to {host.folder / 'purged'}, which does not exist" in finding.text
    assert finding.advice == "create that folder, or remove the link"


@needs_root
def test_a_root_that_another_user_loads_into_is_told_with_the_variable_to_set() -> None:
    with tempfile.TemporaryDirectory(prefix="b10-test-") as folder:
        root = CacheRoot(INDUCTOR, folder)
        own = Path(folder) / RECORD_FOLDER
        own.mkdir(mode=0o700)
        own.chmod(0o700)
        Path(folder).chmod(0o777)
        code = (
            "from b10_transfer.caches.unusable_roots import find_obstacle\n"
            "from b10_transfer.caches.kinds import INDUCTOR\n"
            "from b10_transfer.caches.roots import CacheRoot\n"
            "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"print(find_obstacle(CacheRoot(INDUCTOR, {folder!r})))\n"
        )
        os.chown(own, 1, 1)
        done = run_python(code, {})
        assert find_obstacle(root) is None, "root may write anywhere"
    assert "is used by another user (uid 1), whose .b10_transfer is in it" in done.stdout
    assert "set TORCHINDUCTOR_CACHE_DIR" in done.stdout


@needs_root
def test_files_that_this_user_cannot_read_are_a_problem(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    with tmpfs(folder, 64 << 20):
        host = Site(folder).host("host", TREE)
        host.settings()
        open_the_way_to(folder)
        for path in (host.root, *host.root.rglob("*")):
            os.chown(path, OTHER_USER, OTHER_USER)
        hidden = next(path for path in host.root.rglob("*") if path.is_file())
        os.chown(hidden, 0, 0)
        hidden.chmod(0o600)
        # Imported before: that user may not be able to read the checkout.
        code = (
            "import os\n"
            "from b10_transfer.doctor.roots import examine_root, find_roots\n"
            "from b10_transfer.settings import Settings\n"
            "settings = Settings.from_environment()\n"
            "roots, _ = find_roots(settings)\n"
            "examine_root(roots[0], settings, is_gpu=True)\n"
            f"os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})\n"
            "local, findings = examine_root(roots[0], settings, is_gpu=True)\n"
            "print([f'{item.code}: {item.text}' for item in findings if item.is_problem])\n"
        )
        result = run_python(code, host.variables())
    assert (result.returncode, result.stderr) == (0, "")
    code, text = "root.unreadable", f"1 file in {host.root} cannot be read by this user"
    assert result.stdout.startswith(f"['{code}: {text}")


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "not loaded yet"])
def test_a_root_from_which_nothing_can_be_executed_is_a_problem(host: Host, loaded: bool) -> None:
    with tmpfs(host.root, 16 << 20), no_execution(host.root):
        host.root.chmod(0o755)
        if loaded:
            host.load()
        finding = only_problem(host, "root.noexec")
    assert f"the cache root {host.root} is on a filesystem mounted noexec" in finding.text
    assert finding.details["folder"] == str(host.root)


def test_where_no_library_would_come_to_such_a_root_there_is_no_such_problem(
    tmp_path: Path,
) -> None:
    host = Site(tmp_path).host("other")
    with running_on(GPU_MACHINE), tmpfs(host.root, 16 << 20), no_execution(host.root):
        host.root.chmod(0o755)
        host.write({"ab/kernel.py": b""})
        host.save()
        assert problem_codes(host) == []
