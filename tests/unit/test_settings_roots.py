"""The settings that choose cache roots and what is carried of the headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer import CacheValidationError, Settings
from b10_transfer.caches.roots import ROOT_NAMES

if TYPE_CHECKING:
    from pathlib import Path

ALL = dict.fromkeys(ROOT_NAMES, "")


def roots(value: str) -> dict[str, str]:
    return dict(Settings.from_environment({"B10_CACHE_ROOTS": value}).roots)


def refusal(variable: str, value: str) -> str:
    with pytest.raises(CacheValidationError) as caught:
        Settings.from_environment({variable: value})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ALL),
        ("  ", ALL),
        ("default", ALL),
        ("inductor", {"inductor": ""}),
        ("triton,inductor", {"triton": "", "inductor": ""}),
        (" inductor , triton ", {"inductor": "", "triton": ""}),
        ("inductor,inductor", {"inductor": ""}),
        ("inductor-headers,deep_gemm", {"inductor-headers": "", "deep_gemm": ""}),
        ("mine=/data/mine", {"mine": "/data/mine"}),
        ("default,mine=/data/mine", {**ALL, "mine": "/data/mine"}),
        ("mine=/data/mine,default", {**ALL, "mine": "/data/mine"}),
        ("mine = /data/mine ", {"mine": "/data/mine"}),
        ("mine=/data//mine/", {"mine": "/data/mine"}),
        ("mine=/data/a=b", {"mine": "/data/a=b"}),
        ("triton=/data/t", {"triton": "/data/t"}),
        ("default,triton=/data/t", {**ALL, "triton": "/data/t"}),
        ("triton=/data/t,default", {**ALL, "triton": "/data/t"}),
        ("triton=/data/t,triton", {"triton": "/data/t"}),
        ("mine=/data/a,mine=/data/b", {"mine": "/data/b"}),
    ],
)
def test_roots_are_chosen_by_name_and_may_be_given_a_folder(
    value: str, expected: dict[str, str]
) -> None:
    assert roots(value) == expected


def test_no_choice_is_the_whole_table() -> None:
    assert dict(Settings.from_environment({}).roots) == ALL


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("tritn", "tritn"),
        ("inductor,tritn", "tritn"),
        ("Inductor", "Inductor"),
        ("inductor;triton", "inductor;triton"),
        ("inductor,", ""),
        (",", ""),
        ("/data/mine", "/data/mine"),
        ("Mine=/data/mine", "Mine=/data/mine"),
        ("=/data/mine", "=/data/mine"),
        ("my root=/data/mine", "my root=/data/mine"),
        ("../up=/data/mine", "../up=/data/mine"),
    ],
)
def test_a_root_that_there_is_not_is_refused_with_those_that_there_are(
    value: str, wrong: str
) -> None:
    message = refusal("B10_CACHE_ROOTS", value)
    assert f"B10_CACHE_ROOTS={value!r}" in message
    assert repr(wrong) in message
    assert ", ".join(ROOT_NAMES) in message


@pytest.mark.parametrize("folder", ["", "mine", "~/mine", "/", "/etc", "/data/../etc", "/nul\0"])
@pytest.mark.parametrize("name", ["mine", "triton"])
def test_the_folder_of_a_root_is_checked_like_any_other(name: str, folder: str) -> None:
    message = refusal("B10_CACHE_ROOTS", f"inductor,{name}={folder}")
    assert f"B10_CACHE_ROOTS: {name}={folder!r}" in message


def test_the_home_folder_itself_is_no_cache_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert repr(str(tmp_path)) in refusal("B10_CACHE_ROOTS", f"mine={tmp_path}")
    assert roots(f"mine={tmp_path}/mine") == {"mine": f"{tmp_path}/mine"}


@pytest.mark.parametrize(
    ("value", "full"),
    [("", True), ("placeholder", False), ("full", True), (" FULL ", True), ("Placeholder", False)],
)
def test_of_the_headers_a_placeholder_is_kept_or_all_of_them(value: str, full: bool) -> None:
    assert Settings.from_environment({"B10_CACHE_HEADERS": value}).full_headers is full


@pytest.mark.parametrize("value", ["1", "true", "none", "both", "full,placeholder"])
def test_another_way_to_keep_headers_is_refused(value: str) -> None:
    message = refusal("B10_CACHE_HEADERS", value)
    assert f"B10_CACHE_HEADERS={value!r}" in message
    assert "placeholder" in message
    assert "full" in message
