"""A store that somebody put back in time, and hosts that have seen a newer state of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from b10_transfer.keys import KEY, PRIVATE_MARK, PUBLIC_KEYS, new_private_key
from b10_transfer.operations import upkeep
from tests.support.fleets import FLEET_KEY, GOOD, MORE, Fleet
from tests.support.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host

PUT_BACK = "an older state of the store was put back"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(Site(tmp_path))


def put_back(fleet: Fleet, old: Path) -> None:
    """Do what an attacker with write access can do: the newer manifests go, an old one returns."""
    for path in fleet.manifests():
        path.unlink()
    shutil.copy(old, fleet.site.store / "manifests" / old.name)


@pytest.fixture
def old(fleet: Fleet, tmp_path: Path) -> Path:
    """A copy of a signed manifest, after which another was saved."""
    fleet.save(GOOD)
    kept = shutil.copy(fleet.manifests()[0], tmp_path)
    fleet.save(MORE)
    return tmp_path / kept


def messages(host: Host, **changes: str | None) -> list[str]:
    report = host.load(**{KEY: FLEET_KEY, **changes})
    return [line for line in report.problems if PUT_BACK in line]


def test_a_host_that_has_seen_a_newer_manifest_notices_that_an_old_one_was_put_back(
    fleet: Fleet, old: Path
) -> None:
    host = fleet.host()
    assert messages(host) == []
    put_back(fleet, old)
    (line,) = messages(host)
    assert "`b10-transfer remove " in line
    # A host that has seen nothing cannot know.
    assert messages(fleet.host()) == []


def test_a_host_that_saved_the_newer_manifest_notices_too(fleet: Fleet, old: Path) -> None:
    saver = fleet.host({**GOOD, "new/cnew.py": b"new = 1\n"})
    assert saver.save(B10_CACHE_SIGNING_KEY=FLEET_KEY).status is OperationStatus.SUCCESS
    put_back(fleet, old)
    assert len(messages(saver)) == 1


@pytest.mark.usefixtures("old")
def test_what_the_operator_does_is_no_rollback(fleet: Fleet) -> None:
    host = fleet.host()
    settings = host.settings(**{KEY: FLEET_KEY})
    assert messages(host) == []
    (address,) = upkeep.addresses(settings)
    upkeep.remove(address, settings)
    upkeep.restore(address, settings)
    assert messages(host) == []
    upkeep.remove(address, settings)
    assert host.load(**{KEY: FLEET_KEY}).status is OperationStatus.DOES_NOT_EXIST
    fleet.save(GOOD)
    assert messages(host) == []


def test_a_new_save_ends_the_message(fleet: Fleet, old: Path) -> None:
    host = fleet.host()
    messages(host)
    put_back(fleet, old)
    fleet.save({"new/cnew.py": b"new = 1\n"})
    assert messages(host) == []


def test_without_a_key_nothing_is_noted(fleet: Fleet, old: Path) -> None:
    host = fleet.host()
    assert messages(host, **{KEY: None}) == []
    assert not list(host.folder.rglob("seen"))
    put_back(fleet, old)
    assert messages(host, **{KEY: None}) == []


def test_a_host_with_the_public_key_alone_notices(fleet: Fleet, tmp_path: Path) -> None:
    private, public = new_private_key()
    assert private.startswith(PRIVATE_MARK)
    fleet.save(GOOD, private)
    old = tmp_path / shutil.copy(fleet.manifests()[0], tmp_path)
    fleet.save(MORE, private)
    host = fleet.host()
    trusting = {KEY: None, PUBLIC_KEYS: public}
    assert messages(host, **trusting) == []
    put_back(fleet, old)
    assert len(messages(host, **trusting)) == 1


def test_a_file_of_the_newer_ones_name_does_not_hide_that_an_older_one_was_put_back(
    fleet: Fleet, old: Path
) -> None:
    host = fleet.host()
    messages(host)
    newest = fleet.manifests()[-1]
    put_back(fleet, old)
    newest.write_bytes(b"")
    assert len(messages(host)) == 1


def test_a_planted_name_of_tomorrow_dates_no_save(fleet: Fleet, old: Path) -> None:
    name = fleet.manifests()[-1].name
    address, _, rest = name.partition("~")
    ahead = int(rest[:13]) + 20 * 3_600_000
    planted = fleet.site.store / "manifests" / f"{address}~{ahead}{rest[13:]}"
    planted.write_bytes(b"")
    fleet.save({"new/cnew.py": b"new = 1\n"})
    signed = [path for path in fleet.manifests() if path != planted]
    assert max(path.name.partition("~")[2] for path in signed)[:13] < str(ahead)
    assert old.exists()
