from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from b10_transfer import CacheValidationError, Settings
from b10_transfer.caches.roots import ROOT_NAMES
from b10_transfer.settings import check_folder
from tests.support.mounts import read_only

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_VARIABLES = ["B10FS_CACHE_DIR"]
NUMBER_VARIABLES = ["MAX_CACHE_SIZE_MB", "MAX_CONCURRENT_SAVES"]
SWITCH_VARIABLES = ["BASETEN_FS_ENABLED", "B10_CACHE_LOAD", "B10_STRICT_ROOTS", "B10_AUTO_GC"]


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables)


def assert_refused(variable: str, value: str) -> None:
    with pytest.raises(CacheValidationError) as caught:
        settings(**{variable: value})
    message = str(caught.value)
    assert f"{variable}={value!r}" in message
    assert "\n" not in message


def test_the_defaults_are_those_of_the_documentation() -> None:
    found = settings()
    values = {item.name: getattr(found, item.name) for item in dataclasses.fields(found)}
    expected = {
        "enabled": False,
        "store": "/cache/model/compile_cache",
        "scratch": "/app" if os.access("/app", os.W_OK) else tempfile.gettempdir(),
        "size_limit": 1024 << 20,
        "concurrent_saves": 50,
        "namespace": "",
        "load_enabled": True,
        "roots": dict.fromkeys(ROOT_NAMES, ""),
        "full_headers": True,
        "strict_roots": False,
        "auto_gc": True,
        "max_age_days": 30,
        "max_store_bytes": 0,
        "signing_keys": (),
        "variables": {},
    }
    assert values == expected, "add the default of a new setting here, as README.md has it"


def test_an_empty_value_is_as_good_as_none() -> None:
    names = [*NUMBER_VARIABLES, "LOCAL_WORK_DIR", "B10_CACHE_NAMESPACE"]
    empty = settings(**dict.fromkeys(names, ""))
    assert empty.scratch == settings().scratch
    assert (empty.size_limit, empty.concurrent_saves, empty.namespace) == (1024 << 20, 50, "")


def test_an_empty_store_is_a_mistake_and_not_the_default() -> None:
    with pytest.raises(CacheValidationError, match="B10FS_CACHE_DIR='' is not an absolute path"):
        settings(B10FS_CACHE_DIR="")


def test_settings_are_read_from_this_process_when_no_variables_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_SAVES", "7")
    found = Settings.from_environment()
    monkeypatch.setenv("MAX_CONCURRENT_SAVES", "8")
    assert found.concurrent_saves == 7
    assert found.variables["MAX_CONCURRENT_SAVES"] == "7"


@pytest.mark.parametrize("value", ["1", "true", "True", "TRUE", "yes", "on", " 1 "])
def test_a_switch_is_on(value: str) -> None:
    assert settings(BASETEN_FS_ENABLED=value).enabled is True
    assert settings(B10_CACHE_LOAD=value).load_enabled is True
    assert settings(B10_STRICT_ROOTS=value).strict_roots is True
    assert settings(B10_AUTO_GC=value).auto_gc is True


@pytest.mark.parametrize("value", ["0", "false", "False", "no", "off", ""])
def test_a_switch_is_off(value: str) -> None:
    assert settings(BASETEN_FS_ENABLED=value).enabled is False
    assert settings(B10_CACHE_LOAD=value).load_enabled is False
    assert settings(B10_STRICT_ROOTS=value).strict_roots is False
    assert settings(B10_AUTO_GC=value).auto_gc is False


@pytest.mark.parametrize("variable", SWITCH_VARIABLES)
@pytest.mark.parametrize("value", ["2", "-1", "perhaps", "1;rm", "\uff11", "tru", "0x1"])
def test_a_switch_that_is_neither_is_refused(variable: str, value: str) -> None:
    assert_refused(variable, value)


def test_a_size_is_in_mebibytes_and_a_count_is_a_count() -> None:
    assert settings(MAX_CACHE_SIZE_MB="2").size_limit == 2 << 20
    assert settings(MAX_CACHE_SIZE_MB=" 20480 ").size_limit == 20480 << 20
    assert settings(MAX_CONCURRENT_SAVES="1").concurrent_saves == 1


def test_what_expires_after_a_time_or_beyond_a_size_never_does_at_nought() -> None:
    assert settings(B10_CACHE_MAX_AGE_DAYS="7").max_age_days == 7
    assert settings(B10_CACHE_MAX_AGE_DAYS="0").max_age_days == 0
    assert settings(B10_STORE_MAX_SIZE_MB="3").max_store_bytes == 3 << 20
    assert settings(B10_STORE_MAX_SIZE_MB="0").max_store_bytes == 0
    for variable in ("B10_CACHE_MAX_AGE_DAYS", "B10_STORE_MAX_SIZE_MB"):
        assert_refused(variable, "-1")


@pytest.mark.parametrize("variable", NUMBER_VARIABLES)
@pytest.mark.parametrize(
    "value",
    ["abc", "0", "-1", "+1", "1.5", "1e3", "0x10", "1_000", "1 000", "٣", "²", "nan", "9" * 5000],
)
def test_a_number_that_is_none_or_makes_no_sense_is_refused(variable: str, value: str) -> None:
    assert_refused(variable, value)


@pytest.mark.parametrize("variable", FOLDER_VARIABLES)
@pytest.mark.parametrize(
    "value",
    [
        "cache",
        "./cache",
        "~/cache",
        "/mnt/../etc",
        "/mnt/x/..",
        "/",
        "//",
        "///",
        "/etc",
        "/etc/",
        "/usr/lib",
        "/tmp",  # noqa: S108  # refused, not used
        "/home",
        "/nul\0byte",
    ],
)
def test_a_folder_that_is_relative_or_of_the_system_is_refused(variable: str, value: str) -> None:
    assert_refused(variable, value)


@pytest.mark.parametrize("variable", FOLDER_VARIABLES)
def test_the_home_folder_itself_is_refused_and_one_below_it_is_not(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_refused(variable, str(tmp_path))
    settings(**{variable: str(tmp_path / ".cache")})


@pytest.mark.parametrize("path", ["/data/..hidden/x", "/data/a..b", "/data/x y", "/data/ü"])
def test_dots_within_a_name_and_other_odd_characters_are_fine(path: str) -> None:
    assert check_folder("A", path) == path
    assert check_folder("A", path + "//") == path


@pytest.mark.parametrize("value", ["work", "/app/../etc", "/nul\0byte"])
def test_a_work_folder_that_is_relative_or_has_dots_is_refused(value: str) -> None:
    assert_refused("LOCAL_WORK_DIR", value)


def test_a_work_folder_is_used_when_it_can_be_written_and_never_made(tmp_path: Path) -> None:
    assert settings(LOCAL_WORK_DIR=str(tmp_path)).scratch == str(tmp_path)
    absent = tmp_path / "absent"
    assert settings(LOCAL_WORK_DIR=str(absent)).scratch == tempfile.gettempdir()
    assert not absent.exists()
    file = tmp_path / "file"
    file.touch()
    assert settings(LOCAL_WORK_DIR=str(file)).scratch == tempfile.gettempdir()


def test_a_work_folder_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    with read_only(frozen):
        assert settings(LOCAL_WORK_DIR=str(frozen)).scratch == tempfile.gettempdir()


@pytest.mark.parametrize("value", ["a", "llama-3_8b", "0", "x" * 64])
def test_a_namespace_is_taken_as_it_is(value: str) -> None:
    assert settings(B10_CACHE_NAMESPACE=value).namespace == value


@pytest.mark.parametrize(
    "value", ["A", "a b", "a/b", "../x", "a.b", "a~b", "x" * 65, "é", " a", "a\n"]
)
def test_a_namespace_of_other_characters_is_refused(value: str) -> None:
    assert_refused("B10_CACHE_NAMESPACE", value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        settings().enabled = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # what is tested
