"""Savers that hold a private key, and readers that hold its public key alone."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from b10_transfer import CacheError, CacheValidationError, OperationStatus
from b10_transfer.cli import main
from b10_transfer.keys import (
    KEY,
    KEY_FILE,
    PRIVATE_MARK,
    PUBLIC_KEYS,
    PUBLIC_MARK,
    new_private_key,
)
from b10_transfer.operations import upkeep
from b10_transfer.settings import Settings
from tests.support.cli_runs import USAGE, failed, ran
from tests.support.fleets import FLEET_KEY, GOOD, MORE, POISON, STRANGE_KEY, Fleet, assert_refused
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE, PUBLIC = new_private_key()
OTHER_PRIVATE, OTHER_PUBLIC = new_private_key()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(Site(tmp_path))


# Loading and saving.


def test_what_the_private_key_signed_is_loaded_by_who_has_the_public_key_alone(
    fleet: Fleet,
) -> None:
    fleet.save(GOOD, PRIVATE)
    report, tree = fleet.load(None, B10_CACHE_PUBLIC_KEYS=PUBLIC)
    assert (report.status, tree, report.problems) == (OperationStatus.SUCCESS, GOOD, ())


@pytest.mark.parametrize(
    "key", [None, STRANGE_KEY, OTHER_PRIVATE], ids=["none", "a secret", "a private key"]
)
def test_what_anybody_else_saved_is_refused_by_who_has_the_public_key(
    fleet: Fleet, key: str | None
) -> None:
    fleet.save(GOOD, PRIVATE)
    fleet.save(POISON, key)
    report, tree = fleet.load(None, B10_CACHE_PUBLIC_KEYS=PUBLIC)
    assert tree == GOOD
    assert_refused(report, fleet.manifests()[-1], "seal does not fit" if key else "not signed")


def test_a_reader_publishes_nothing_and_says_who_can(fleet: Fleet) -> None:
    fleet.save(GOOD, PRIVATE)
    reader = fleet.host()
    reader.load(B10_CACHE_PUBLIC_KEYS=PUBLIC)
    assert reader.save(B10_CACHE_PUBLIC_KEYS=PUBLIC).status is OperationStatus.SKIPPED
    reader.write(MORE)
    stored = {path: path.stat().st_mtime_ns for path in fleet.site.store.rglob("*")}
    with pytest.raises(CacheError, match="public keys only, and cannot sign") as caught:
        reader.save(B10_CACHE_PUBLIC_KEYS=PUBLIC)
    assert KEY_FILE in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in fleet.site.store.rglob("*")} == stored


def test_a_reader_looks_after_the_store_and_signs_nothing(fleet: Fleet) -> None:
    fleet.save(GOOD, PRIVATE)
    settings = fleet.host().settings(B10_CACHE_PUBLIC_KEYS=PUBLIC)
    assert upkeep.collect(settings).refused == []
    assert upkeep.check(settings, read_data=True).faults == []
    with pytest.raises(CacheError, match="public keys only"):
        upkeep.sign_again(settings)


def test_keys_change_as_secrets_do(fleet: Fleet) -> None:
    """From a shared secret to a key pair, and on to another pair, with every host at work."""
    fleet.save(GOOD, FLEET_KEY)
    both = f"{PRIVATE}\n{FLEET_KEY}"
    assert fleet.load(both)[1] == GOOD
    upkeep.sign_again(fleet.host().settings(B10_CACHE_SIGNING_KEY=both))
    assert fleet.load(None, B10_CACHE_PUBLIC_KEYS=PUBLIC)[1] == GOOD
    fleet.save(MORE, f"{OTHER_PRIVATE}\n{PUBLIC}")
    for readers in (f"{PUBLIC},{OTHER_PUBLIC}", f"{OTHER_PUBLIC} {PUBLIC}", OTHER_PUBLIC):
        assert fleet.load(None, B10_CACHE_PUBLIC_KEYS=readers)[1] == {**GOOD, **MORE}
    assert fleet.load(None, B10_CACHE_PUBLIC_KEYS=PUBLIC)[1] == GOOD


def test_one_variable_on_all_hosts_and_the_private_key_on_savers_is_enough(
    fleet: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{PRIVATE}\n")
    file.chmod(0o600)
    fleet.save(GOOD, None, **{KEY_FILE: str(file), PUBLIC_KEYS: PUBLIC})
    assert fleet.load(None, B10_CACHE_PUBLIC_KEYS=PUBLIC)[1] == GOOD


# Settings.


@pytest.mark.parametrize(
    "value",
    ["", " ", FLEET_KEY, PRIVATE, f"{PUBLIC},{FLEET_KEY}"],
    ids=["empty", "blank", "a secret", "a private key", "a secret behind a public key"],
)
def test_what_is_no_public_key_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(CacheValidationError, match=PUBLIC_KEYS) as caught:
        Settings.from_environment({PUBLIC_KEYS: value})
    assert FLEET_KEY not in str(caught.value)
    assert PRIVATE.removeprefix(PRIVATE_MARK) not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [PRIVATE[:-1], PRIVATE + "0", PUBLIC.replace("public", "pubic"), PUBLIC_MARK + "z" * 64],
    ids=["cut", "too long", "misspelt", "other letters"],
)
def test_half_of_a_pair_that_was_not_copied_whole_is_no_shared_secret(text: str) -> None:
    with pytest.raises(CacheValidationError, match="copy the whole line") as caught:
        Settings.from_environment({KEY: text})
    assert text not in str(caught.value)


@pytest.mark.parametrize(("mode", "accepted"), [(0o644, True), (0o664, False), (0o646, False)])
def test_a_file_of_public_keys_may_be_read_and_not_written_by_others(
    tmp_path: Path, mode: int, accepted: bool
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# trusted\n{PUBLIC}\n")
    file.chmod(mode)
    variables = {KEY_FILE: str(file)}
    if accepted:
        (key,) = Settings.from_environment(variables).signing_keys
        assert not key.signs
    else:
        with pytest.raises(CacheValidationError, match="changed by other users"):
            Settings.from_environment(variables)
    file.write_text(f"{PUBLIC}\n{PRIVATE}\n")
    file.chmod(mode)
    with pytest.raises(CacheValidationError, match="by other users"):
        Settings.from_environment(variables)


@pytest.mark.parametrize("text", [PUBLIC, PRIVATE], ids=["public", "private"])
def test_without_the_library_a_key_pair_is_an_error_that_names_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "cryptography":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(CacheValidationError, match=r"pip install 'b10-transfer\[signing\]'"):
        Settings.from_environment({KEY: text})
    # Who has a shared secret needs no library.
    assert len(Settings.from_environment({KEY: FLEET_KEY}).signing_keys) == 1


# The command.


@pytest.fixture
def host(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a host without keys."""
    become(fleet.host(), monkeypatch)
    monkeypatch.delenv(KEY, raising=False)


def ran_noting(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that says on stderr what to do next; returns what it prints."""
    assert main(arguments.split()) == 0
    out, err = capsys.readouterr()
    assert KEY_FILE in err
    assert PUBLIC_KEYS in err
    return out


@pytest.mark.usefixtures("host")
def test_a_new_key_is_a_private_file_and_its_public_half_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new-key"
    public = ran_noting(f"key new --file {file}", capsys).strip()
    assert (file.stat().st_mode & 0o777, public.startswith(PUBLIC_MARK)) == (0o600, True)
    shown = json.loads(ran(f"key show --file {file} --json", capsys))
    assert shown == {
        "keys": [
            {
                "kind": "private key",
                "signs": True,
                "fingerprint": shown["keys"][0]["fingerprint"],
                "public_key": public,
            }
        ]
    }
    secret = file.read_text().splitlines()[-1]
    assert secret not in ran(f"key show --file {file}", capsys)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("make", ["file", "link"])
def test_a_new_key_takes_the_place_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: str
) -> None:
    target, file = tmp_path / "target", tmp_path / "key"
    target.write_text("precious")
    if make == "file":
        file = target
    else:
        file.symlink_to(target)
    assert "exists already" in failed(f"key new --file {file}", capsys)
    assert target.read_text() == "precious"
    assert "--file FILE" in failed("key new", capsys, USAGE)


@pytest.mark.usefixtures("host")
def test_show_tells_what_each_key_does_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no key" in ran("key show", capsys)
    monkeypatch.setenv(KEY, f"{FLEET_KEY}\n{PRIVATE}")
    monkeypatch.setenv(PUBLIC_KEYS, OTHER_PUBLIC)
    shown = ran("key show", capsys)
    assert "shared secret, signs and verifies" in shown
    assert f"private key, verifies\n  {PUBLIC}" in shown
    assert f"public key, verifies\n  {OTHER_PUBLIC}" in shown
    assert FLEET_KEY not in shown
    assert PRIVATE not in shown


@pytest.mark.usefixtures("host")
def test_sign_says_what_it_signed(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEY_FILE in failed("key sign", capsys)
    fleet.save(GOOD, FLEET_KEY)
    monkeypatch.setenv(KEY, f"{PRIVATE}\n{FLEET_KEY}")
    answer = json.loads(ran("key sign --json", capsys))
    (address,) = answer["signed"]
    assert answer == {"signed": [address], "unchanged": 0, "failed": {}}
    assert "0 environments signed" in ran("key sign", capsys)


PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFdh\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        f'"{PUBLIC}"',
        PUBLIC.upper(),
        f"export {PUBLIC_KEYS}={PUBLIC}",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    ],
    ids=["PEM", "quoted", "capitals", "shell", "ssh"],
)
def test_a_key_of_another_form_is_no_shared_secret(text: str) -> None:
    with pytest.raises(CacheValidationError, match="not in the form of a key"):
        Settings.from_environment({KEY: text})
