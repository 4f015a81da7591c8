"""Where a file of keys may lie, and which are private."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import SigningKey
from b10_transfer.errors import CacheValidationError
from b10_transfer.key_file import make_key_file, read_key_file
from b10_transfer.keys import PRIVATE_MARK, PUBLIC_MARK, is_public
from tests.support.crowd import OTHER_USER

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "7f3a91c2d4aa7f3a91c2d4aa"
PUBLIC = PUBLIC_MARK + "ab" * 32
PRIVATE = PRIVATE_MARK + "cd" * 32

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no user ids")
needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give a file away"
)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with one key, two folders deep."""
    file = tmp_path / "team" / "keys" / "key"
    file.parent.mkdir(parents=True)
    for folder in (file.parent, file.parent.parent):
        folder.chmod(0o755)
    return written(file, TEXT)


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


def reads(path: Path) -> bool:
    (key,) = read_key_file(str(path), "/nowhere")
    return key.seal(b"data") == SigningKey(TEXT.encode()).seal(b"data")


def refusal(path: Path) -> str:
    with pytest.raises(CacheValidationError) as caught:
        read_key_file(str(path), "/nowhere")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_a_file_below_folders_of_ours_is_read(key_file: Path) -> None:
    assert reads(key_file)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o2775])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_folder_on_the_way_that_others_can_write_to_is_refused_with_the_way_out(
    key_file: Path, mode: int, steps: int
) -> None:
    folder = key_file.parents[steps]
    folder.chmod(mode)
    message = refusal(key_file)
    assert f"the folder {folder} can be written by other users (mode {mode:o})" in message
    assert "chmod go-w" in message


@pytest.mark.parametrize("steps", [0, 1])
def test_a_sticky_folder_is_good_as_nobody_else_can_exchange_what_is_ours(
    key_file: Path, steps: int
) -> None:
    key_file.parents[steps].chmod(0o1777)
    assert reads(key_file)


@needs_root
@pytest.mark.parametrize("steps", [0, 1])
def test_a_folder_of_another_user_on_the_way_is_refused(key_file: Path, steps: int) -> None:
    os.chown(key_file.parents[steps], OTHER_USER, -1)
    assert f"belongs to another user (uid {OTHER_USER})" in refusal(key_file)


@needs_root
@pytest.mark.parametrize("steps", [None, 0, 1])
def test_a_link_that_another_user_made_is_not_followed(
    key_file: Path, tmp_path: Path, steps: int | None
) -> None:
    crowded = tmp_path / "crowded"
    crowded.mkdir()
    crowded.chmod(0o1777)
    target = key_file if steps is None else key_file.parents[steps]
    (crowded / "link").symlink_to(target)
    path = crowded / "link" / key_file.relative_to(target)
    assert reads(path)
    os.chown(crowded / "link", OTHER_USER, -1, follow_symlinks=False)
    assert f"a link of another user (uid {OTHER_USER})" in refusal(path)


def test_the_folders_behind_a_link_are_looked_at_as_well(key_file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file)
    key_file.parent.chmod(0o777)
    assert f"the folder {key_file.parent} can be written" in refusal(tmp_path / "link")


def test_keys_are_read_as_kubernetes_mounts_them(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    (mount / "..2024_01").mkdir(parents=True)
    mount.chmod(0o1777)
    written(mount / "..2024_01" / "key", TEXT, 0o440)
    (mount / "..data").symlink_to("..2024_01")
    (mount / "key").symlink_to("..data/key")
    assert reads(mount / "key")


def test_links_in_a_circle_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "cannot be read: Too many levels" in refusal(tmp_path / "a")


def test_no_key_is_made_where_others_could_exchange_it(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(CacheValidationError, match="can be written by other users"):
        make_key_file(str(folder / "key"), TEXT)
    assert not list(folder.iterdir())


def test_a_new_key_is_for_this_user_alone_and_made_in_the_place_of_nothing(tmp_path: Path) -> None:
    make_key_file(str(tmp_path / "key"), TEXT)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for name in ("key", "link"):
        with pytest.raises(FileExistsError):
            make_key_file(str(tmp_path / name), TEXT)
    assert not (tmp_path / "absent").exists()


# What is private.


@pytest.mark.parametrize(
    "comment",
    [
        f"# before: {PRIVATE}",
        f"#{PRIVATE.upper()}",
        f"# {PUBLIC} {PRIVATE}",
        "# -----BEGIN OPENSSH PRIVATE KEY-----",
        f"# {'0123456789abcdef' * 4}",
        "# S3J5cHRvc2NobMO8c3NlbCBmw7xyIGRpZSBUZXN0cw==",
    ],
)
def test_a_file_with_a_secret_in_a_comment_is_private(key_file: Path, comment: str) -> None:
    text = f"{comment}\n{PUBLIC}\n"
    assert not is_public(text)
    message = refusal(written(key_file, text, 0o644))
    assert "can be read by other users (mode 644)" in message


@pytest.mark.parametrize(
    "comment",
    ["", "# since May 2024", f"# {PUBLIC}", "# the private key is with the CI job of team 3"],
)
def test_a_file_of_public_keys_is_public_whatever_is_told_of_them(comment: str) -> None:
    assert is_public(f"{comment}\n{PUBLIC}\n")
    assert not is_public(f"{comment}\n{PUBLIC}\n{PRIVATE}\n")


# What is no file of keys.

SHADOW = "root:$y$j9T$5Jq8$HASHHASHHASH:19800:0:99999:7:::"


@pytest.mark.parametrize(
    "text",
    [
        SHADOW,
        "daemon:*:19800:0:99999:7:::\nbin:*:19800:0:99999:7:::",
        "root:x:0:0:HASHHASHHASH:/root:/bin/bash",
        '{"password": "HASHHASHHASH"}',
        "password: HASHHASHHASH",
        "DB_PASSWORD = HASHHASHHASH",
        "[default]\naws_secret_access_key=HASHHASHHASH",
        "\n".join(f"HASHHASHHASH line {number}" for number in range(40)),
    ],
)
def test_a_file_of_something_else_is_named_with_what_is_expected_and_not_shown(
    key_file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    message = refusal(written(key_file, text))
    assert repr(str(key_file)) in message
    assert PRIVATE_MARK in message
    assert "or a shared secret of 16 characters or more" in message
    for told in (message, caplog.text):
        assert "HASH" not in told
        assert "19800" not in told


@pytest.mark.parametrize(
    "secret",
    ["abcdefghijklmnopqrstu==", "a/b+c/d+e/f+abcdef0", "two words: and some more, too", "1234" * 8],
)
def test_a_secret_in_base64_or_in_words_is_a_key(key_file: Path, secret: str) -> None:
    assert len(read_key_file(str(written(key_file, secret)), "/nowhere")) == 1
