"""Hosts with, without and with other signing keys, which share a store that others can write to."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_store.format.seal import open_prefix
from b10_store.manifests.problem import Damage, Problem
from b10_store.remote.folder import FolderRemote
from b10_store.store import Store
from b10_transfer import CacheError, CacheValidationError, OperationStatus
from b10_transfer.doctor import examine
from b10_transfer.keys import KEY, KEY_FILE
from b10_transfer.operations import upkeep
from b10_transfer.operations.reports import count_refused, problem_lines
from tests.support.api_answers import info, listing, only_record
from tests.support.crowd import OTHER_USER, Act, run_one
from tests.support.fleets import (
    FLEET_KEY,
    GOOD,
    MORE,
    OLD_KEY,
    POISON,
    STRANGE_KEY,
    Fleet,
    assert_refused,
)
from tests.support.programs import run_python
from tests.support.scheduled_actors import Killed
from tests.support.sites import Site, become
from tests.support.stateful_stops import Stopping
from tests.support.stateful_world import NoThread
from tests.support.store_views import clock_behind

if TYPE_CHECKING:
    from pathlib import Path

HOURS = 3600.0
BOTH = f"{FLEET_KEY}\n{OLD_KEY}"

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can mount and become another user",
)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(Site(tmp_path))


@pytest.fixture
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled as soon as they are written: a host notes each save."""
    monkeypatch.setattr("b10_transfer.local.settled.GRAIN_NS", -1_000_000_000)


# With the key, without it, with another one.


def test_hosts_with_one_key_share_and_what_they_publish_is_signed(fleet: Fleet) -> None:
    assert fleet.save(GOOD).status is OperationStatus.SUCCESS
    (manifest,) = fleet.manifests()
    assert open_prefix(manifest.read_bytes()).signed
    report, tree = fleet.load()
    assert (tree, report.refused, report.problems) == (GOOD, 0, ())
    assert "refused" not in str(report)


def test_a_key_in_a_file_is_as_good_as_one_in_the_variable(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"# the fleet's\n{FLEET_KEY}\n")
    file.chmod(0o400)
    fleet.save(GOOD, None, **{KEY_FILE: str(file)})
    assert fleet.load()[1] == GOOD
    fleet.save(MORE)
    assert fleet.load(None, **{KEY_FILE: str(file)})[1] == {**GOOD, **MORE}


@pytest.mark.parametrize(
    ("key", "reason"), [(None, "not signed"), (STRANGE_KEY, "seal does not fit")]
)
def test_where_only_others_saved_a_load_is_an_error_and_brings_nothing(
    fleet: Fleet, key: str | None, reason: str
) -> None:
    fleet.save(POISON, key)
    host = fleet.host()
    with pytest.raises(CacheError, match=reason) as caught:
        host.load(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert "1 manifest refused: with a signing key set" in str(caught.value)
    assert "save once with it" in str(caught.value)
    assert host.tree() == {}


@pytest.mark.parametrize(
    ("key", "reason"), [(None, "not signed"), (STRANGE_KEY, "seal does not fit")]
)
def test_beside_what_others_saved_only_what_was_signed_is_loaded(
    fleet: Fleet, key: str | None, reason: str
) -> None:
    fleet.save(GOOD)
    fleet.save(POISON, key)
    report, tree = fleet.load()
    assert (report.status, tree) == (OperationStatus.SUCCESS, GOOD)
    assert_refused(report, fleet.manifests()[-1], reason)


@pytest.mark.parametrize("key", [None, STRANGE_KEY])
def test_the_first_save_with_a_key_publishes_everything_again_and_says_what_it_refused(
    fleet: Fleet, key: str | None
) -> None:
    fleet.save(GOOD, key)
    report = fleet.save(GOOD)
    assert (report.status, report.added) == (OperationStatus.SUCCESS, len(GOOD))
    assert_refused(report, fleet.manifests()[0], "seal" if key else "not signed")
    assert fleet.load()[1] == GOOD


@pytest.mark.usefixtures("settled_at_once")
def test_a_save_with_nothing_new_says_each_time_what_it_refuses(fleet: Fleet) -> None:
    fleet.save(POISON, None)
    host = fleet.host(GOOD)
    host.save(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    for _ in range(3):
        report = host.save(B10_CACHE_SIGNING_KEY=FLEET_KEY)
        assert report.status is OperationStatus.SKIPPED
        assert_refused(report, fleet.manifests()[0], "not signed")


def test_what_is_refused_is_neither_carried_on_nor_moved_away_however_often_hosts_save(
    fleet: Fleet,
) -> None:
    with clock_behind(9 * HOURS):
        fleet.save(POISON, None)
    with clock_behind(8 * HOURS):
        fleet.save(POISON, STRANGE_KEY)
    refused = {path.name: path.read_bytes() for path in fleet.manifests()}
    saver = fleet.host(GOOD)
    for hours in range(7, 1, -1):
        saver.write({f"n{hours}/new.py": b"new"})
        with clock_behind(hours * HOURS):
            assert saver.save(B10_CACHE_SIGNING_KEY=FLEET_KEY).refused == 2
    kept = {path.name: path.read_bytes() for path in fleet.manifests() if path.name in refused}
    assert kept == refused
    report, tree = fleet.load()
    assert report.refused == 2
    assert tree == saver.tree()
    assert not any(data == b"poison" for data in tree.values())


def test_a_host_without_the_key_loads_what_is_signed_and_never_takes_it_away(fleet: Fleet) -> None:
    with clock_behind(9 * HOURS):
        # The second carries the first on, and is too young to have it moved to trash.
        fleet.save(GOOD)
        fleet.save(MORE)
    signed = fleet.manifests()
    plain = fleet.host()
    assert plain.load().loaded == len(GOOD) + len(MORE)
    for hours in range(8, 3, -1):
        plain.write({f"n{hours}/new.py": b"new"})
        with clock_behind(hours * HOURS):
            plain.save()
    assert all(path.exists() for path in signed)
    report, tree = fleet.load()
    assert tree == {**GOOD, **MORE}
    assert report.refused > 0


def test_blobs_are_not_referred_to_on_the_word_of_a_manifest_that_is_not_signed(
    fleet: Fleet,
) -> None:
    large = {"ab/large.bin": os.urandom(2 << 20)}
    fleet.save(large, None, B10_CACHE_NAMESPACE="a")
    assert fleet.save(large, B10_CACHE_NAMESPACE="b").uploaded_bytes > 2 << 20
    # On that of a signed one they are.
    assert fleet.save(large, B10_CACHE_NAMESPACE="c").uploaded_bytes == 0


# Keys that change.


def test_old_keys_still_verify_and_the_next_save_signs_with_the_new_one(fleet: Fleet) -> None:
    fleet.save(GOOD, OLD_KEY)
    report, tree = fleet.load(BOTH)
    assert (tree, report.refused) == (GOOD, 0)
    saver = fleet.host()
    saver.load(B10_CACHE_SIGNING_KEY=BOTH)
    saver.write(MORE)
    assert saver.save(B10_CACHE_SIGNING_KEY=BOTH).added == len(MORE)
    # It carried everything on, so who has only the new key has all.
    report, tree = fleet.load(FLEET_KEY)
    assert tree == {**GOOD, **MORE}
    report, tree = fleet.load(OLD_KEY)
    assert tree == GOOD
    assert_refused(report, fleet.manifests()[-1], "seal does not fit")


def test_who_has_the_new_key_as_a_second_one_is_ready_for_hosts_that_sign_with_it(
    fleet: Fleet,
) -> None:
    fleet.save(GOOD, f"{OLD_KEY}\n{FLEET_KEY}")
    fleet.save(MORE, f"{FLEET_KEY}\n{OLD_KEY}")
    for keys in (f"{OLD_KEY}\n{FLEET_KEY}", f"{FLEET_KEY}\n{OLD_KEY}"):
        report, tree = fleet.load(keys)
        assert (tree, report.refused) == ({**GOOD, **MORE}, 0)


def test_a_save_with_nothing_new_leaves_what_an_older_key_signed(fleet: Fleet) -> None:
    with clock_behind(25 * HOURS):
        fleet.save(GOOD, OLD_KEY)
    before = fleet.manifests()
    assert fleet.save(GOOD, BOTH).status is OperationStatus.SKIPPED
    assert fleet.manifests() == before


def test_the_operator_signs_everything_with_the_new_key_and_may_drop_the_old_one(
    fleet: Fleet,
) -> None:
    fleet.save(GOOD, OLD_KEY)
    fleet.save(MORE, OLD_KEY, B10_CACHE_NAMESPACE="other")
    settings = fleet.host().settings(**{KEY: BOTH})
    assert upkeep.sign_again(settings).signed == upkeep.addresses(settings)
    assert fleet.load(FLEET_KEY)[1] == GOOD
    assert fleet.load(FLEET_KEY, B10_CACHE_NAMESPACE="other")[1] == MORE
    # What carries the new signature already is left alone.
    manifests = fleet.manifests()
    report = upkeep.sign_again(settings)
    assert (report.signed, report.unchanged, report.failed) == ([], 2, {})
    assert fleet.manifests() == manifests


@pytest.mark.parametrize("key", [None, STRANGE_KEY])
def test_what_no_key_of_the_operator_vouches_for_is_not_signed(
    fleet: Fleet, key: str | None
) -> None:
    fleet.save(POISON, key)
    report = upkeep.sign_again(fleet.host().settings(**{KEY: BOTH}))
    assert (report.signed, len(fleet.manifests())) == ([], 1)
    with pytest.raises(CacheError):
        fleet.load(FLEET_KEY)


@pytest.mark.parametrize("torn", [False, True])
def test_a_signing_that_is_killed_at_any_effect_loses_nothing(
    fleet: Fleet, torn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.save(GOOD, OLD_KEY)
    # A killed process has no heartbeat that goes on.
    threads = SimpleNamespace(Event=threading.Event, Thread=NoThread)
    monkeypatch.setattr("b10_store.save.session.threading", threads)
    settings = fleet.host().settings(**{KEY: BOTH})
    (address,) = upkeep.addresses(settings)
    killed = 0
    while True:
        stopping = Stopping(FolderRemote(settings.store), killed + 1, torn=torn)
        store = Store(stopping, settings.scratch, settings.signing_keys)
        try:
            assert store.sign_again(address)
        except Killed:
            killed += 1
            assert fleet.load(BOTH)[1] == GOOD
        else:
            break
    assert killed > 4
    assert fleet.load(FLEET_KEY)[1] == GOOD


def test_doctor_names_what_older_keys_signed(fleet: Fleet) -> None:
    fleet.save(GOOD, OLD_KEY)
    fleet.save(GOOD, FLEET_KEY, B10_CACHE_NAMESPACE="other")
    (old, _) = sorted(fleet.manifests(), key=lambda path: path.name.count("other"))
    settings = fleet.host().settings(**{KEY: BOTH})
    (signing,) = [item for item in examine(settings) if item.code == "signing.older_key"]
    assert "1 manifest is signed with a key that is not the first" in signing.text
    assert "key sign" in signing.advice
    assert signing.details["manifests"] == [f"manifests/{old.name}"]


@pytest.mark.usefixtures("settled_at_once")
def test_a_host_that_is_given_the_key_saves_again_what_it_saved_without(fleet: Fleet) -> None:
    host = fleet.host(GOOD)
    host.save()
    assert host.save().status is OperationStatus.SKIPPED
    assert host.save(B10_CACHE_SIGNING_KEY=FLEET_KEY).status is OperationStatus.SUCCESS
    assert fleet.load()[1] == GOOD


# What users see.


def test_a_manifest_that_vanished_or_cannot_be_reached_was_not_refused() -> None:
    damaged = Problem("a", Damage.DAMAGED, "its seal does not fit")
    gone = Problem("b", Damage.MISSING, "no such file")
    away = Problem("c", Damage.UNREADABLE, "stale file handle")
    assert count_refused([damaged, gone, away]) == 1
    assert "1 manifest refused" in problem_lines([damaged, gone, away], signed=True)[-1]
    assert problem_lines([gone, away], signed=True) == problem_lines([gone, away])


def test_the_functions_that_return_a_status_log_one_line_without_the_secret(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.save(POISON, None)
    become(fleet.host(), monkeypatch, B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert b10_transfer.load_compile_cache() is OperationStatus.ERROR
    record = only_record(caplog)
    assert "1 manifest refused" in record.getMessage()
    assert FLEET_KEY not in caplog.text
    assert listing()["caches"] == []
    assert "not signed" in listing()["error"]
    assert info()["b10fs_cache_exists"] is False
    assert "not signed" in info()["error"]


def test_doctor_says_what_is_refused_and_no_key(fleet: Fleet) -> None:
    fleet.save(POISON, None)
    settings = fleet.host().settings(**{KEY: f"{FLEET_KEY}\n{OLD_KEY}"})
    found = examine(settings)
    assert any(item.is_problem and "not signed" in item.text for item in found)
    assert not any(FLEET_KEY in item.text or OLD_KEY in item.text for item in found)


def test_doctor_says_that_others_can_write_to_a_store_without_a_key(fleet: Fleet) -> None:
    fleet.save(GOOD, None)
    settings = fleet.host().settings()
    assert not [item for item in examine(settings) if item.subject == "signing"]
    fleet.site.store.chmod(0o777)
    (signing,) = [item for item in examine(settings) if item.subject == "signing"]
    assert KEY_FILE in signing.text


LOADS = "import b10_transfer\nfor _ in range(3): b10_transfer.load_compile_cache()\n"
SAVES = "import b10_transfer\nfor _ in range(3): b10_transfer.save_compile_cache()\n"


@pytest.mark.parametrize("program", [LOADS, SAVES, LOADS + SAVES])
@pytest.mark.parametrize(
    ("mode", "key", "warnings"), [(0o777, None, 1), (0o777, FLEET_KEY, 0), (0o755, None, 0)]
)
def test_a_process_without_a_key_warns_once_where_others_can_write(
    fleet: Fleet, mode: int, key: str | None, warnings: int, program: str
) -> None:
    fleet.save(GOOD, key)
    fleet.site.store.chmod(mode)
    result = run_python(program, fleet.host(MORE).variables(B10_CACHE_SIGNING_KEY=key))
    assert result.returncode == 0
    assert result.stderr.count(KEY_FILE) == warnings
    assert FLEET_KEY not in result.stderr + result.stdout


@needs_root
def test_a_key_file_that_this_user_may_not_read_is_an_error_that_names_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(FLEET_KEY)
    file.chmod(0o600)
    act = Act("load", fleet.host().variables(**{KEY_FILE: str(file)}), user=OTHER_USER)
    result = run_one(act)
    assert result.status == "ERROR"
    assert f"{CacheValidationError.__name__}: {KEY_FILE}={str(file)!r} cannot be" in result.error
