"""`doctor` reads what a load would read, and looks at where it would write: they agree."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from b10_transfer.doctor import examine
from b10_transfer.errors import CacheError
from b10_transfer.operations import transfer
from tests.support.cache_trees import compiled_graph
from tests.support.crowd import OTHER_USER, open_the_way_to
from tests.support.doctor_views import found, one, only_problem, problem_codes
from tests.support.mounts import tmpfs
from tests.support.other_users import needs_another_user
from tests.support.programs import run_python
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.support.sites import Host

TREE = compiled_graph("model")


def lose_packs(site: Site, host: Host) -> None:  # noqa: ARG001
    for path in site.files("packs"):
        path.unlink()


def cut_packs(site: Site, host: Host) -> None:  # noqa: ARG001
    for path in site.files("packs"):
        os.truncate(path, 100)


def cut_manifests(site: Site, host: Host) -> None:  # noqa: ARG001
    for path in site.files("manifests"):
        os.truncate(path, path.stat().st_size - 100)


def spoil_manifests(site: Site, host: Host) -> None:  # noqa: ARG001
    for path in site.files("manifests"):
        path.write_bytes(b"damaged")


def block_root(site: Site, host: Host) -> None:  # noqa: ARG001
    host.root.parent.mkdir(parents=True, exist_ok=True)
    host.root.write_bytes(b"")


def block_folder_above(site: Site, host: Host) -> None:  # noqa: ARG001
    host.folder.mkdir()
    host.work.mkdir()
    host.folder.joinpath("above").write_bytes(b"")


def block_own_folder(site: Site, host: Host) -> None:  # noqa: ARG001
    host.root.mkdir(parents=True)
    host.root.joinpath(".b10_transfer").write_bytes(b"")


def block_folders(site: Site, host: Host) -> None:  # noqa: ARG001
    host.root.mkdir(parents=True)
    for path in TREE:
        host.root.joinpath(path.partition("/")[0]).write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lose_packs, "stored.damaged"),
        (cut_packs, "stored.damaged"),
        (cut_manifests, "stored.damaged"),
        (spoil_manifests, "stored.damaged"),
        (block_root, "root.unusable"),
        (block_own_folder, "root.unwritable"),
        (block_folders, "root.unwritable"),
    ],
)
def test_what_fails_a_load_is_a_problem(
    saved: Site, spoil: Callable[[Site, Host], None], code: str
) -> None:
    host = saved.host("host")
    spoil(saved, host)
    finding = only_problem(host, code)
    with pytest.raises(CacheError):
        host.load()
    assert finding.advice


def test_a_work_folder_that_cannot_be_used_is_a_problem(host: Host) -> None:
    settings = replace(host.settings(), scratch=str(host.folder / "missing"))
    codes = [item.code for item in examine(settings) if item.is_problem]
    assert codes == ["settings.work_folder"]
    with pytest.raises(CacheError, match="work folder"):
        transfer.load(settings)


def test_a_file_above_a_cache_root_is_named(saved: Site) -> None:
    host = saved.host("host")
    block_folder_above(saved, host)
    above = host.folder / "above"
    chosen = {"TORCHINDUCTOR_CACHE_DIR": str(above / "inductor")}
    finding = only_problem(host, "root.unusable", **chosen)
    assert f"{above} is not a folder" in finding.text
    with pytest.raises(CacheError):
        host.load(**chosen)


def test_it_is_told_how_much_a_lost_pack_costs(saved: Site) -> None:
    (pack,) = saved.files("packs")
    pack.unlink()
    finding = one(saved.host("host"), "stored.damaged")
    assert finding.text == (
        f"packs/{pack.name} is not there: {len(TREE)} of {len(TREE)} artifacts cannot be loaded"
    )


def test_a_pack_in_trash_is_not_lost(saved: Site) -> None:
    trash = saved.store / "trash" / ("0" * 32)
    trash.mkdir(parents=True)
    for path in saved.files("packs"):
        path.rename(trash / path.name)
    host = saved.host("host")
    assert problem_codes(host) == []
    assert host.load().loaded == len(TREE)


def test_a_manifest_that_an_older_one_stands_in_for_is_still_named(saved: Site) -> None:
    saver = saved.host("saver", {"zz/more.py": b"more = 1"})
    saver.save()
    older, newer = saved.files("manifests")
    newer.write_bytes(newer.read_bytes()[:-100])
    host = saved.host("host")
    assert newer.name in only_problem(host, "stored.damaged").text
    assert older.exists()


def test_that_nothing_stored_is_for_this_host_is_a_problem(site: Site) -> None:
    mine = site.folder / "mine"
    mine.mkdir()
    mine.joinpath("kernel.bin").write_bytes(b"kernel")
    site.host("saver").save(B10_CACHE_ROOTS=f"mine={mine}")
    host = site.host("host")
    finding = only_problem(host, "stored.not_for_host")
    assert "1 artifact of mine" in finding.text
    assert "B10_CACHE_ROOTS" in finding.advice
    assert host.load().status is OperationStatus.DOES_NOT_EXIST
    assert found(host, "stored.not_for_host", B10_CACHE_ROOTS=f"mine={mine}") == []


@pytest.fixture
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A site that every user can come to, saved to by a process of its own."""
    folder = tmp_path_factory.mktemp("shared")
    with tmpfs(folder, 64 << 20):
        site = Site(folder)
        saver = site.host("saver", TREE)
        done = run_python("import b10_transfer; b10_transfer.save()", saver.variables())
        assert done.returncode == 0, done.stderr
        yield site


def findings_of_another_user(host: Host, hidden: Path) -> list[dict[str, str]]:
    """The problems of the store that another user finds, who may not read a file of it."""
    # Imported before: that user may not be able to read the checkout.
    code = (
        "import json, os\n"
        "from b10_transfer.doctor import examine\n"
        "examine()\n"
        f"os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})\n"
        "print(json.dumps([item.as_json() for item in examine() if item.is_problem]))\n"
    )
    variables = host.variables()
    open_the_way_to(host.store.parent)
    for path in (host.folder, *host.folder.rglob("*")):
        os.chown(path, OTHER_USER, OTHER_USER)
    hidden.chmod(0)
    result = run_python(code, variables)
    assert result.returncode == 0, result.stderr
    found: list[dict[str, str]] = json.loads(result.stdout)
    return found


@needs_another_user
@pytest.mark.parametrize("folder", ["packs", "manifests"])
def test_what_another_user_may_not_read_is_named_with_the_right_advice(
    open_site: Site, folder: str
) -> None:
    (path,) = open_site.files(folder)
    (finding,) = findings_of_another_user(open_site.host("user"), path)
    assert finding["code"] == "store.unreadable"
    assert f"{folder}/{path.name}" in finding["text"]
    assert "Permission denied" in finding["text"]
    assert finding["advice"].startswith("let this user read it (chmod, chown)")
