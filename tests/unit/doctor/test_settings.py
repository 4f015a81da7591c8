"""What `doctor` says of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer.doctor.settings import read_settings
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


def test_a_work_folder_that_is_not_used_is_worth_a_note(host: Host) -> None:
    gone = str(host.folder / "gone")
    finding = one(host, "settings.work_folder", LOCAL_WORK_DIR=gone)
    assert not finding.is_problem
    assert gone in finding.text
    assert found(host, "settings.work_folder") == []
    assert found(host, "settings.work_folder", LOCAL_WORK_DIR=None) == []


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
    assert "B10_CACHE_LOAD=0" in only_problem(host, "settings.off", B10_CACHE_LOAD="0").text


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
