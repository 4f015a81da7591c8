"""Where signing keys come from, which are refused, and that their secrets show nowhere."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import PrivateKey, SigningKey
from b10_transfer import CacheValidationError, Settings
from b10_transfer.keys import KEY, KEY_FILE, PUBLIC_MARK, public_text
from b10_transfer.operations import unsigned
from b10_transfer.operations.context import open_context
from b10_transfer.operations.unsigned import store_exposure, warn_when_unsigned

if TYPE_CHECKING:
    from pathlib import Path

NEW = "new-secret-7f3a91c2d4"
OLD = "old-secret-0b5e88aa13"
DATA = b"what is sealed"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that nobody else can write to."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with one key."""
    file = tmp_path / "key"
    file.write_text(f"{NEW}\n")
    file.chmod(0o600)
    return file


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables)


def seals(found: Settings) -> list[bytes]:
    return [key.seal(DATA) for key in found.signing_keys]


def sealed_with(*secrets: str) -> list[bytes]:
    return [SigningKey(secret.encode()).seal(DATA) for secret in secrets]


def refusal(**variables: str) -> str:
    """The message of the refusal, and what hangs on it: nothing that it could leak through."""
    with pytest.raises(CacheValidationError) as caught:
        settings(**variables)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(file: Path, data: bytes, mode: int = 0o600) -> Path:
    file.chmod(0o600)
    file.write_bytes(data)
    file.chmod(mode)
    return file


# Which keys.


def test_without_either_variable_there_is_no_key() -> None:
    assert settings().signing_keys == ()


def test_a_key_is_the_same_from_the_variable_and_from_a_file(key_file: Path) -> None:
    assert seals(settings(**{KEY: NEW})) == sealed_with(NEW)
    assert seals(settings(**{KEY_FILE: str(key_file)})) == sealed_with(NEW)


TEXTS = [
    f"{NEW}\n{OLD}",
    f"{NEW}\n{OLD}\n",
    f"{NEW}\r\n{OLD}\r\n",
    f"\n  # since May\n\n \t{NEW} \n# before\n{OLD}\n\n",
    f"\ufeff{NEW}\n{OLD}\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_there_is_one_key_a_line_and_the_first_signs(text: str, key_file: Path) -> None:
    write(key_file, text.encode())
    expected = sealed_with(NEW, OLD)
    assert seals(settings(**{KEY: text})) == expected
    assert seals(settings(**{KEY_FILE: str(key_file)})) == expected


@pytest.mark.parametrize(
    "secret", ["a phrase of words, with commas", "schlüssel mit ümlauten", "/w+abc/+abc/abcd=="]
)
def test_a_key_may_hold_blanks_commas_slashes_and_letters_of_any_language(
    secret: str, key_file: Path
) -> None:
    write(key_file, secret.encode())
    assert seals(settings(**{KEY: secret})) == sealed_with(secret)
    assert seals(settings(**{KEY_FILE: str(key_file)})) == sealed_with(secret)


def test_a_key_of_16_characters_is_long_enough_and_one_of_15_is_refused(key_file: Path) -> None:
    assert len(settings(**{KEY: "x" * 16}).signing_keys) == 1
    write(key_file, f"{NEW}\n{'x' * 15}\n".encode())
    for message in (refusal(**{KEY: "x" * 15}), refusal(**{KEY_FILE: str(key_file)})):
        assert "shorter than 16 characters" in message
        assert "openssl rand -hex 32" in message
        assert "x" * 15 not in message
    assert refusal(**{KEY: "x" * 15}).startswith(f"{KEY}: ")
    assert "line 2" in refusal(**{KEY_FILE: str(key_file)})


def test_a_public_key_for_which_anybody_can_sign_is_refused_with_its_place(key_file: Path) -> None:
    pytest.importorskip("cryptography")
    weak = f"{PUBLIC_MARK}01{'00' * 31}"
    good = public_text(PrivateKey(bytes(range(32))))
    assert "line 2 is a public key for which anybody can sign" in refusal(
        B10_CACHE_PUBLIC_KEYS=f"{good},{weak}"
    )
    write(key_file, f"{weak}\n".encode())
    assert f"{key_file}" in refusal(B10_CACHE_SIGNING_KEY_FILE=str(key_file))


def test_white_space_does_not_make_a_key_longer() -> None:
    assert "shorter than 16" in refusal(**{KEY: f"{' ' * 20}short{' ' * 20}"})


# What is refused.


def test_both_variables_at_once_are_refused_and_both_are_named(key_file: Path) -> None:
    for text, path in ((NEW, str(key_file)), ("", str(key_file)), (NEW, "")):
        message = refusal(**{KEY: text, KEY_FILE: path})
        assert f"{KEY} and {KEY_FILE}" in message
        assert NEW not in message


@pytest.mark.parametrize("text", ["", " ", "\n\n", "# nothing but a comment of some length"])
def test_a_secret_that_did_not_arrive_does_not_turn_signing_off(text: str, key_file: Path) -> None:
    assert "holds no key" in refusal(**{KEY: text})
    write(key_file, text.encode())
    assert "holds no key" in refusal(**{KEY_FILE: str(key_file)})


def test_an_empty_path_does_not_turn_signing_off() -> None:
    assert f"{KEY_FILE} is not an absolute path" in refusal(**{KEY_FILE: ""})


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(1, 33)),
        b"\xff\xfe" + b"k" * 30,
        b"k" * 20 + b"\0" + b"k" * 20,
        b"k" * 20 + b"\tk",
    ],
)
def test_a_key_that_is_no_text_is_refused_and_not_shown(key_file: Path, data: bytes) -> None:
    write(key_file, data)
    message = refusal(**{KEY_FILE: str(key_file)})
    assert "not text" in message or "shorter than 16" in message
    assert "kkk" not in message
    assert message.isprintable()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = refusal(**{KEY_FILE: str(tmp_path / "absent")})
    assert (
        message
        == f"{KEY_FILE}={str(tmp_path / 'absent')!r} cannot be read: No such file or directory"
    )


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read every file"
)
def test_a_file_that_may_not_be_read_is_named(key_file: Path) -> None:
    key_file.chmod(0)
    assert f"{KEY_FILE}={str(key_file)!r} cannot be read" in refusal(**{KEY_FILE: str(key_file)})


def test_a_folder_and_a_device_are_no_files_of_keys(tmp_path: Path) -> None:
    assert "not a regular file" in refusal(**{KEY_FILE: str(tmp_path)})
    assert "not a regular file" in refusal(**{KEY_FILE: "/dev/zero"})


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in refusal(**{KEY_FILE: str(tmp_path / "pipe")})


def test_a_file_that_is_far_too_long_is_refused_and_not_read_whole(key_file: Path) -> None:
    with key_file.open("wb") as file:
        file.truncate(1 << 40)
    assert "not a file of keys" in refusal(**{KEY_FILE: str(key_file)})


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620, 0o660, 0o666, 0o777])
def test_a_file_that_others_can_read_or_change_is_refused_with_the_way_out(
    key_file: Path, mode: int
) -> None:
    key_file.chmod(mode)
    message = refusal(**{KEY_FILE: str(key_file)})
    assert f"{KEY_FILE}={str(key_file)!r}" in message
    assert f"(mode {mode:o}): chmod 600 it" in message


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_of_this_user_and_its_group_is_read(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert seals(settings(**{KEY_FILE: str(key_file)})) == sealed_with(NEW)


def test_a_link_is_followed_as_kubernetes_mounts_secrets(tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "mounted").symlink_to(key_file)
    assert seals(settings(**{KEY_FILE: str(tmp_path / "mounted")})) == sealed_with(NEW)
    key_file.chmod(0o644)
    assert "chmod 600" in refusal(**{KEY_FILE: str(tmp_path / "mounted")})


def test_a_file_in_the_store_is_refused_also_through_a_link(
    store: Path, tmp_path: Path, key_file: Path
) -> None:
    inside = store / "key"
    key_file.rename(inside)
    (tmp_path / "link").symlink_to(inside)
    for path in (inside, tmp_path / "link"):
        message = refusal(**{KEY_FILE: str(path), "B10FS_CACHE_DIR": str(store)})
        assert "is in the store" in message


def test_a_key_in_place_of_a_path_is_refused_and_not_shown() -> None:
    assert NEW not in refusal(**{KEY_FILE: NEW})


def test_a_path_in_place_of_a_key_is_not_taken_for_one(key_file: Path) -> None:
    assert f"set {KEY_FILE}" in refusal(**{KEY: str(key_file)})


# What shows.


def assert_nothing_shows(*shown: object) -> None:
    for secret in (NEW, OLD):
        text = " ".join(f"{item!r} {item!s}" for item in shown)
        assert secret not in text
        assert secret.encode().hex() not in text


@pytest.mark.parametrize("source", ["variable", "file"])
def test_the_secrets_are_in_no_form_of_the_settings_that_a_log_could_have(
    source: str, key_file: Path, store: Path
) -> None:
    text = f"{NEW}\n{OLD}\n"
    write(key_file, text.encode())
    variables = {KEY: text} if source == "variable" else {KEY_FILE: str(key_file)}
    found = settings(**variables, B10FS_CACHE_DIR=str(store), HF_TOKEN=OLD)
    assert len(found.signing_keys) == 2
    assert "signing_keys" not in repr(found)
    assert_nothing_shows(found, found.signing_keys, found.signing_keys[0])
    assert KEY not in found.variables
    without_tokens = {name: value for name, value in found.variables.items() if name != "HF_TOKEN"}
    assert_nothing_shows(dataclasses.replace(found, variables={}), without_tokens)
    assert_nothing_shows(dataclasses.asdict(dataclasses.replace(found, variables={})))


def test_the_secrets_are_in_no_form_of_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    context = open_context(settings(**{KEY: NEW}, HOME=str(tmp_path), TMPDIR=str(tmp_path)))
    assert_nothing_shows(context, context.settings, context.store)


def test_a_file_of_another_user_is_refused(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = key_file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        # Whoever is root can change every file anyhow.
        assert seals(settings(**{KEY_FILE: str(key_file)})) == sealed_with(NEW)
        os.chown(key_file, 65534, -1)
        owner = 65534
    assert f"belongs to another user (uid {owner})" in refusal(**{KEY_FILE: str(key_file)})


# The warning.


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777, 0o2770])
def test_a_store_that_others_can_write_to_is_exposed(store: Path, mode: int) -> None:
    store.chmod(mode)
    exposed = store_exposure(str(store))
    assert exposed is not None
    assert str(store) in exposed
    assert f"{mode:o}" in exposed


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o555])
def test_a_store_of_this_user_alone_is_not(store: Path, mode: int) -> None:
    store.chmod(mode)
    assert store_exposure(str(store)) is None


@pytest.mark.parametrize(("mode", "is_exposed"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_a_store_that_everybody_can_exchange_is_exposed(
    store: Path, mode: int, is_exposed: bool
) -> None:
    store.parent.chmod(mode)
    exposed = store_exposure(str(store))
    assert (exposed is not None) == is_exposed
    if exposed is not None:
        assert f"they can write to the folder {store.parent} (mode 777)" in exposed


def test_a_store_of_another_user_is_exposed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = store.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert store_exposure(str(store)) == f"the store {store} belongs to another user (uid {own})"


def test_a_store_that_is_not_there_yet_is_not(store: Path) -> None:
    assert store_exposure(str(store / "absent")) is None


def test_only_a_process_without_a_key_before_an_exposed_store_warns_and_only_once(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unsigned, "_warning", threading.Lock())
    plain = settings(B10FS_CACHE_DIR=str(store))
    warn_when_unsigned(plain)
    store.chmod(store.stat().st_mode | stat.S_IWGRP)
    warn_when_unsigned(settings(B10FS_CACHE_DIR=str(store), **{KEY: NEW}))
    assert caplog.records == []
    for _ in range(3):
        warn_when_unsigned(plain)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("b10_transfer", "WARNING")
    assert str(store) in record.getMessage()
    assert KEY_FILE in record.getMessage()
