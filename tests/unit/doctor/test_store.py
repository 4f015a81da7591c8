"""What `doctor` says of the store's folder: whether it is there, ours, and open to this user."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

import pytest

from b10_transfer.doctor.mount import Answers, Step, look_at
from b10_transfer.doctor.store import folder_findings
from tests.support.cache_trees import compiled_graph
from tests.support.crowd import OTHER_USER, open_the_way_to
from tests.support.doctor_views import found, one, only_problem, problem_codes
from tests.support.mounts import read_only, tmpfs
from tests.support.programs import run_python
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

TREE = compiled_graph("model")


def test_a_store_that_is_not_there_is_a_problem(site: Site) -> None:
    finding = only_problem(site.host("host"), "store.missing")
    assert f"there is no folder {site.store} yet" in finding.text
    assert "mounted" in finding.advice


def test_a_file_in_the_place_of_the_store_is_a_problem(site: Site) -> None:
    site.store.write_bytes(b"")
    finding = only_problem(site.host("host"), "store.unreadable")
    assert str(site.store) in finding.text
    assert "set B10FS_CACHE_DIR to a folder" in finding.advice


@pytest.mark.parametrize(
    ("error", "advice"),
    [(errno.ENOTCONN, "remount it"), (errno.ESTALE, "remount it"), (errno.EACCES, "permis")],
)
def test_what_to_do_depends_on_what_the_filesystem_said(error: int, advice: str) -> None:
    answers = Answers({"status": Step({}, error="what it said", errno=error)})
    (finding,) = folder_findings("/store", answers)
    assert (finding.code, finding.text) == (
        "store.unreadable",
        "/store cannot be read: what it said",
    )
    assert advice in finding.advice


def test_a_store_of_another_format_is_a_problem(saved: Site) -> None:
    line = "b10-transfer store, format 99, check 0123456789abcdef\n"
    (saved.store / "FORMAT").write_text(line)
    finding = only_problem(saved.host("host"), "store.format")
    assert "one release on all hosts" in finding.advice


def test_a_damaged_format_file_is_no_matter(saved: Site) -> None:
    (saved.store / "FORMAT").write_bytes(b"b10-transfer sto")
    assert found(saved.host("host"), "store") == []


def test_a_store_that_cannot_be_listed_is_a_problem(saved: Site) -> None:
    shutil.rmtree(saved.store / "manifests")
    (saved.store / "manifests").write_bytes(b"")
    assert problem_codes(saved.host("host")) == ["store.unreadable"]


def test_a_folder_of_other_things_is_worth_a_note(site: Site) -> None:
    site.store.mkdir()
    (site.store / "weights.safetensors").write_bytes(b"")
    assert "weights.safetensors" in one(site.host("host"), "store.other_files").text


def test_a_read_only_store_is_worth_a_note(saved: Site) -> None:
    host = saved.host("host")
    with read_only(saved.store):
        assert problem_codes(host) == []
        finding = one(host, "store.read_only")
    assert f"{saved.store} is read-only here: loads work, saves do not" in finding.text
    assert found(host, "store.read_only") == []


def look_as_another_user(store: Path) -> list[str]:
    """The codes that another user finds."""
    # Imported before: that user may not be able to read the checkout, nor to run this Python.
    code = (
        "import os\n"
        "from b10_transfer.doctor.mount import look_at\n"
        "from b10_transfer.doctor.store import folder_findings\n"
        f"os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})\n"
        f"look = look_at({str(store)!r})\n"
        f"print(*(item.code for item in folder_findings({str(store)!r}, look)))\n"
    )
    result = run_python(code, Site(store.parent).host("user").variables())
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


@pytest.fixture
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A site that every user can come to, with something in its store."""
    folder = tmp_path_factory.mktemp("shared")
    with tmpfs(folder, 64 << 20):
        site = Site(folder)
        # Made by whoever administers it: a store is open to everybody only where its folder was.
        site.store.mkdir()
        site.store.chmod(0o777)
        site.host("saver", TREE).save()
        open_the_way_to(folder)
        yield site


def test_what_another_user_may_not_do_is_named(open_site: Site) -> None:
    store = open_site.store
    for folder in (store, *store.iterdir()):
        folder.chmod(0o777 if folder.is_dir() else 0o666)
    assert look_as_another_user(store) == []
    store.chmod(0o755)
    assert look_as_another_user(store) == ["store.read_only"]
    (store / "packs").chmod(0o700)
    assert look_as_another_user(store) == ["store.unreadable"]
    for folder in (store, *store.iterdir()):
        folder.chmod(0o777 if folder.is_dir() else 0o666)
    assert look_as_another_user(store) == []
    (store / "sessions").chmod(0o755)
    assert look_as_another_user(store) == ["store.read_only"]


def test_space_is_among_the_answers(site: Site) -> None:
    with tmpfs(site.store, 8 << 20):
        answers = look_at(str(site.store))
    assert answers.facts("space")["size"] == 8 << 20
