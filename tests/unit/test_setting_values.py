"""Every setting, for people: what it came to, and where that came from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from b10_transfer.operations.setting_values import setting_values
from b10_transfer.settings import DEFAULT_STORE, Settings
from tests.support.sites import Host, Site

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a key that nobody may see"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Site(tmp_path).host("host")


def values(host: Host, **changes: str | None) -> dict[str, tuple[object, str]]:
    """Value and origin of every setting."""
    return {
        item.name: (item.value, item.origin) for item in setting_values(host.settings(**changes))
    }


def test_every_setting_is_listed(host: Host) -> None:
    documented = set(re.findall(r"\b[A-Z][A-Z0-9_]{7,}\b", Settings.__doc__ or ""))
    missing = documented ^ set(values(host))
    assert missing == set(), f"add {missing} to _SHOWN in b10_transfer/operations/setting_values.py"


def test_a_value_that_was_set_is_told_from_a_default(host: Host) -> None:
    found = values(host, MAX_CACHE_SIZE_MB="7", B10_CACHE_NAMESPACE="")
    assert found["MAX_CACHE_SIZE_MB"] == (7, "set")
    assert found["MAX_CONCURRENT_SAVES"] == (50, "default")
    assert found["B10_CACHE_NAMESPACE"] == (None, "default")
    assert found["B10FS_CACHE_DIR"] == (str(host.store), "set")
    assert found["LOCAL_WORK_DIR"] == (str(host.work), "set")
    assert found["BASETEN_FS_ENABLED"] == (True, "set")


def test_the_store_is_where_settings_say_when_nothing_is_set(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(host.folder))
    assert Settings.from_environment({}).store == DEFAULT_STORE


def test_that_a_key_is_set_is_told_and_not_the_key(host: Host, tmp_path: Path) -> None:
    shown = values(host, B10_CACHE_SIGNING_KEY=KEY)
    assert shown["B10_CACHE_SIGNING_KEY"] == ("(not shown)", "set")
    assert shown["B10_CACHE_SIGNING_KEY_FILE"] == (None, "default")
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    shown = values(host, B10_CACHE_SIGNING_KEY_FILE=str(file))
    assert shown["B10_CACHE_SIGNING_KEY_FILE"] == (str(file), "set")
    assert shown["B10_CACHE_SIGNING_KEY"] == (None, "default")


def test_a_folder_that_cannot_be_used_is_not_what_is_shown(host: Host) -> None:
    assert values(host, LOCAL_WORK_DIR=None)["LOCAL_WORK_DIR"][1] != "set"


def test_people_read_switches_as_they_are_written(host: Host) -> None:
    shown = {item.name: str(item) for item in setting_values(host.settings())}
    assert shown["BASETEN_FS_ENABLED"] == "1 (set)"
    assert shown["B10_CACHE_NAMESPACE"] == "none (default)"
