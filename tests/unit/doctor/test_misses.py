"""What `doctor` says of what is stored: why a load misses, and what is believed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import SigningKey
from b10_store.format.manifest import Lineage
from b10_store.format.names import Address
from b10_store.manifests.headers import Seal
from b10_store.remote.folder import FolderRemote
from b10_store.store import Store
from b10_transfer.doctor import Severity
from b10_transfer.doctor.loadable import manifest_findings
from b10_transfer.doctor.stored import read_stored
from b10_transfer.local.artifact_use import keeps_access_times
from tests.support.cache_trees import compiled_graph, read_tree
from tests.support.doctor_views import found, one, only_problem, problem_codes
from tests.support.fleets import FLEET_KEY, GOOD, OLD_KEY, POISON, STRANGE_KEY, Fleet
from tests.support.machines import CPU_MACHINE, running_on
from tests.support.published import publish
from tests.support.values import manifest

if TYPE_CHECKING:
    from b10_transfer.machine.environment import Environment
    from tests.support.sites import Site

TREE = compiled_graph("model")
KEY = "B10_CACHE_SIGNING_KEY"


# Why a load misses.


def test_an_empty_store_is_a_problem(site: Site) -> None:
    site.store.mkdir()
    finding = only_problem(site.host("host"), "stored.nothing")
    assert finding.text == "nothing is stored yet, for any environment"


def test_what_is_stored_in_other_namespaces_is_named(site: Site, here: Environment) -> None:
    saver = site.host("saver", TREE)
    for name in ("flux", "llama"):
        saver.save(B10_CACHE_NAMESPACE=name)
    finding = only_problem(site.host("host"), "stored.other_namespace")
    assert f"nothing for environment {here.key} in this namespace (none)" in finding.text
    assert "but there is in others: flux, llama" in finding.text
    assert "B10_CACHE_NAMESPACE" in finding.advice
    assert problem_codes(site.host("host"), B10_CACHE_NAMESPACE="flux") == []
    saver.save()
    finding = only_problem(site.host("host"), "stored.other_namespace", B10_CACHE_NAMESPACE="third")
    assert finding.details["namespaces"] == ["", "flux", "llama"]
    assert "but there is in others: the one without a name, flux, llama" in finding.text


def test_the_nearest_environments_are_named_by_what_differs(site: Site) -> None:
    near = CPU_MACHINE.but(triton="3.6.0")
    far = CPU_MACHINE.but(torch="2.9.0+cpu", torch_git="0000", triton="3.5.0", machine="aarch64")
    between = CPU_MACHINE.but(torch="2.12.0+cpu", torch_git="0000")
    keys: list[str] = []
    for number, machine in enumerate((far, near, far.but(flags="fma"), between)):
        with running_on(machine) as there:
            site.host(f"saver-{number}", TREE).save(B10_CACHE_NAMESPACE=f"name-{number}")
        keys.append(there.key)
    host = site.host("host")
    finding = only_problem(host, "stored.other_environment")
    assert "the nearest of 4 others has triton 3.6.0 (here 3.7.1)" in finding.text
    assert finding.details["differences"] == [{"name": "triton", "here": "3.7.1", "there": "3.6.0"}]
    assert (finding.details["key"], finding.details["namespaces"]) == (keys[1], ["name-1"])
    assert "image" in finding.advice
    next_ones = finding.details["next_nearest"]
    assert [len(item["differences"]) for item in next_ones] == [2, 5]


def test_of_environments_as_near_the_one_saved_to_last_comes_first(site: Site) -> None:
    for number, version in enumerate(("3.5.0", "3.6.0", "3.4.0")):
        with running_on(CPU_MACHINE.but(triton=version)):
            site.host(f"saver-{number}", TREE).save()
    host = site.host("host")
    finding = only_problem(host, "stored.other_environment")
    assert "triton 3.4.0" in finding.text
    there = [item["differences"][0]["there"] for item in finding.details["next_nearest"]]
    assert there == ["3.6.0", "3.5.0"]


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"c_library": "glibc 2.40"}, "same image"),
        ({"flags": "fma avx2"}, "ATEN_CPU_CAPABILITY"),
        ({"machine": "aarch64"}, "machine of this kind"),
    ],
)
def test_what_to_do_depends_on_what_differs(
    saved: Site, change: dict[str, str], advice: str
) -> None:
    with running_on(CPU_MACHINE.but(**change)):
        assert advice in only_problem(saved.host("host"), "stored.other_environment").advice


OTHER_MACHINE = CPU_MACHINE.but(threads="16", compiler="/usr/bin/clang++")


def test_what_differs_in_the_machine_that_saved_is_worth_a_note_before_a_load(saved: Site) -> None:
    host = saved.host("host")
    with running_on(OTHER_MACHINE):
        finding = one(host, "stored.differs")
        assert problem_codes(host) == []
    assert finding.severity is Severity.NOTE
    assert "8 (here 16)" in finding.text
    assert "/usr/bin/g++-12 (here /usr/bin/clang++)" in finding.text
    assert "OMP_NUM_THREADS" in finding.advice
    assert [row["name"] for row in finding.details["differences"]] == ["threads", "cxx_compiler"]


def test_what_differs_is_no_matter_where_what_was_loaded_is_used(saved: Site) -> None:
    host = saved.host("host")
    with running_on(OTHER_MACHINE):
        host.load()
        time.sleep(0.02)  # a clock of files moves by some milliseconds
        for path in read_tree(host.root):
            (host.root / path).read_bytes()
        assert found(host, "stored.differs") == []


def test_what_differs_is_worth_a_note_until_what_was_loaded_is_opened(saved: Site) -> None:
    host = saved.host("host")
    with running_on(OTHER_MACHINE):
        host.load()
        if not keeps_access_times(str(host.root)):
            pytest.skip("nobody can see what was opened")
        finding = one(host, "stored.differs")
    assert finding.severity is Severity.NOTE
    assert "they may compile again" in finding.text


def test_what_differs_is_worth_a_note_where_something_was_compiled_since_a_load(
    saved: Site,
) -> None:
    host = saved.host("host")
    with running_on(OTHER_MACHINE):
        host.load()
        host.write({"zz/c1.py": b"x = 1\n"})
        finding = one(host, "stored.differs")
    assert finding.severity is Severity.NOTE
    assert "something was compiled here since the last load" in finding.text


def test_what_differs_is_a_problem_where_much_was_compiled_since_a_load(saved: Site) -> None:
    host = saved.host("host")
    with running_on(OTHER_MACHINE):
        host.load()
        host.write(compiled_graph("the same, for 16 threads"))
        finding = only_problem(host, "stored.differs")
    assert "much was compiled here since the last load" in finding.text
    assert "OMP_NUM_THREADS" in finding.advice


def test_another_driver_is_no_problem(saved: Site) -> None:
    with running_on(CPU_MACHINE.but(driver="999.1")):
        assert problem_codes(saved.host("host")) == []


# Damage, and many manifests.


def test_a_damaged_manifest_is_a_problem_and_named(saved: Site) -> None:
    (path,) = saved.files("manifests")
    path.write_bytes(path.read_bytes()[:100])
    host = saved.host("host")
    finding = only_problem(host, "stored.damaged")
    assert path.name in finding.text
    assert "check --repair" in finding.advice


def test_of_many_damaged_manifests_some_are_named(site: Site) -> None:
    saver = site.host("saver", TREE)
    for number in range(8):
        saver.save(B10_CACHE_NAMESPACE=f"n{number}")
    for path in site.files("manifests"):
        path.write_bytes(b"damaged")
    findings = found(site.host("host"), "stored.damaged")
    assert len(findings) == 6
    assert findings[-1].text.startswith("3 further manifests")


LONG_AGO, LONG_AFTER = 1_700_000_000_000, 4_000_000_000_000


def fill(site: Site, count: int, milliseconds: int = LONG_AGO) -> None:
    """Put a manifest of each of so many environments, saved at that time, into the store."""
    remote = FolderRemote(str(site.store))
    site.folder.joinpath("scratch").mkdir()
    for number in range(count):
        machine = CPU_MACHINE.but(torch="2.9.0", triton=f"1.{number}.0").environment()
        fields = tuple((item.name, item.value) for item in machine.fields)
        made = manifest(milliseconds + number, address=Address(machine.key))
        made = replace(made, lineage=Lineage((), (), fields))
        publish(remote, str(site.folder / "scratch"), made)


def test_a_store_of_200_environments_is_looked_at_in_whole(saved: Site) -> None:
    fill(saved, 200)
    host = saved.host("host")
    assert problem_codes(host) == []
    with running_on(CPU_MACHINE.but(triton="1.77.0")):
        finding = only_problem(host, "stored.other_environment")
    assert "of 201 others" in finding.text
    assert [row["name"] for row in finding.details["differences"]] == ["triton"]


def store_of(site: Site, keys: tuple[SigningKey, ...] = ()) -> Store:
    return Store(FolderRemote(str(site.store)), "", keys)


def test_where_there_is_no_time_for_all_this_hosts_own_is_read_first(
    saved: Site, here: Environment
) -> None:
    fill(saved, 5, LONG_AFTER)
    stored = read_stored(store_of(saved), Address(here.key), -1.0)
    assert (stored.listed, stored.manifests) == (6, [])
    (unread,) = manifest_findings(stored)
    assert (unread.code, unread.details) == ("stored.unread", {"listed": 6, "read": 0})
    ticks = iter([0.0, 0.0, 2.0, 2.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("b10_transfer.doctor.stored.time.monotonic", lambda: next(ticks))
        stored = read_stored(store_of(saved), Address(here.key), 1.0)
    (only,) = stored.manifests
    assert only.name.address == Address(here.key)


# Signing.


@pytest.fixture
def fleet(site: Site) -> Fleet:
    return Fleet(site)


def seals(fleet: Fleet, *keys: str) -> list[Seal | None]:
    """What each manifest's seal says to a host with these keys, oldest first."""
    chosen = tuple(SigningKey(key.encode()) for key in keys)
    stored = read_stored(store_of(fleet.site, chosen), Address("0" * 32), 60.0)
    ordered = sorted(stored.manifests, key=lambda item: item.name.snapshot)
    return [item.seal for item in ordered]


def test_what_is_not_believed_is_counted_by_why(fleet: Fleet) -> None:
    for number, key in enumerate((None, FLEET_KEY, STRANGE_KEY)):
        fleet.save(GOOD, key, B10_CACHE_NAMESPACE=f"n{number}")
    assert seals(fleet) == [Seal.PLAIN, Seal.SIGNED, Seal.SIGNED]
    assert seals(fleet, FLEET_KEY) == [Seal.PLAIN, Seal.SIGNED, Seal.FOREIGN]
    assert seals(fleet, OLD_KEY, FLEET_KEY) == [Seal.PLAIN, Seal.OLDER, Seal.FOREIGN]
    host = fleet.host()
    plain, foreign = found(host, "stored.refused", **{KEY: FLEET_KEY})
    assert plain.text.startswith("1 manifest is not signed, and refused: ")
    assert foreign.text.startswith("1 manifest is signed with another key, or changed since,")
    assert plain.is_problem
    # And what is not believed is no namespace to go to.
    finding = one(host, "stored.other_namespace", **{KEY: FLEET_KEY})
    assert finding.details["namespaces"] == ["n1"]


def test_a_store_of_which_nothing_is_believed_holds_nothing(fleet: Fleet) -> None:
    fleet.save(POISON, STRANGE_KEY)
    assert problem_codes(fleet.host(), **{KEY: FLEET_KEY}) == ["stored.refused"]


def test_a_signed_store_without_a_key_here_is_worth_a_note(fleet: Fleet) -> None:
    fleet.save(GOOD)
    host = fleet.host()
    assert problem_codes(host) == []
    finding = one(host, "signing.no_key")
    assert finding.text.startswith("1 of 1 manifests are signed, but no key is set here")
    assert "B10_CACHE_SIGNING_KEY_FILE" in finding.advice
    assert found(host, "signing.no_key", **{KEY: FLEET_KEY}) == []


def test_that_others_can_write_to_a_store_without_a_key_is_worth_a_note(saved: Site) -> None:
    host = saved.host("host")
    assert found(host, "signing") == []
    saved.store.chmod(0o777)
    assert "can run code here" in one(host, "signing.exposed").text
    assert found(host, "signing.exposed", **{KEY: FLEET_KEY}) == []
