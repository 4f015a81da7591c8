"""What `doctor` says of settings: every one, and where its value came from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from b10_transfer.doctor.settings import read_settings, value_findings
from b10_transfer.settings import DEFAULT_STORE, Settings
from tests.support.doctor_views import found, one, only_problem
from tests.support.sites import Host, Site

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a key that nobody may see"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    site = Site(tmp_path)
    site.store.mkdir()
    return site.host("host")


def values(host: Host, **changes: str | None) -> dict[str, tuple[object, object]]:
    """Value and origin of every setting."""
    findings = value_findings(host.settings(**changes), frozenset())
    return {
        item.details["name"]: (item.details["value"], item.details["origin"])
        for item in findings
        if item.code == "settings.value"
    }


def test_every_setting_is_listed(host: Host) -> None:
    documented = set(re.findall(r"\b[A-Z][A-Z0-9_]{7,}\b", Settings.__doc__ or ""))
    missing = documented ^ set(values(host))
    assert missing == set(), f"add {missing} to _SHOWN in b10_transfer/doctor/settings.py"


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


def test_a_work_folder_that_is_not_used_is_worth_a_note(host: Host) -> None:
    gone = str(host.folder / "gone")
    finding = one(host, "settings.work_folder", LOCAL_WORK_DIR=gone)
    assert not finding.is_problem
    assert gone in finding.text
    assert found(host, "settings.work_folder") == []
    assert found(host, "settings.work_folder", LOCAL_WORK_DIR=None) == []
    assert values(host, LOCAL_WORK_DIR=None)["LOCAL_WORK_DIR"][1] != "set"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("B10_CACHE_NAMESPCE", "B10_CACHE_NAMESPACE"),
        ("B10_CACHE_DIR", "B10FS_CACHE_DIR"),
        ("b10fs_cache_dir", "B10FS_CACHE_DIR"),
        ("BASETEN_FS_ENABLE", "BASETEN_FS_ENABLED"),
        ("MAX_CACHE_SIZE", "MAX_CACHE_SIZE_MB"),
        ("B10_TRANSFER_TIMEOUT", "B10_TRANSFER_TIMEOUT_S"),
    ],
)
def test_a_variable_that_looks_like_a_setting_is_worth_a_note(
    host: Host, wrong: str, meant: str
) -> None:
    finding = one(host, "settings.unknown", **{wrong: "1"})
    assert finding.details == {"name": wrong, "meant": meant}
    assert meant in finding.advice


@pytest.mark.parametrize("name", ["B10_TRANSFER_VLLM_URL", "B10_OTHER_THING", "MAX_JOBS", "HOME2"])
def test_other_variables_are_none_of_its_business(host: Host, name: str) -> None:
    assert found(host, "settings.unknown", **{name: "1"}) == []


def test_a_cache_that_is_off_is_a_problem(host: Host) -> None:
    host.write({"ab/x.py": b""})
    host.save()
    finding = only_problem(host, "settings.off", BASETEN_FS_ENABLED=None)
    assert "BASETEN_FS_ENABLED=1" in finding.advice
    assert "B10_CACHE_LOAD=0" in only_problem(host, "settings.load_off", B10_CACHE_LOAD="0").text


def test_of_two_keys_one_is_left_out_and_the_rest_can_be_read(host: Host) -> None:
    variables = host.variables(B10_CACHE_SIGNING_KEY=KEY, B10_CACHE_SIGNING_KEY_FILE="/key")
    reading = read_settings(variables)
    assert reading.settings is not None
    assert reading.ignored == {"B10_CACHE_SIGNING_KEY_FILE"}


def test_a_key_file_in_the_store_is_what_is_wrong_and_not_the_store(host: Host) -> None:
    file = host.store / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    reading = read_settings(host.variables(B10_CACHE_SIGNING_KEY_FILE=str(file)))
    assert reading.ignored == {"B10_CACHE_SIGNING_KEY_FILE"}
