from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.roots import resolve_roots
from b10_transfer.errors import CacheValidationError
from b10_transfer.servers.find.endpoints import Endpoint, parse_url
from b10_transfer.servers.find.processes import ServerProcess
from b10_transfer.servers.options import ServerOptions, settings_for
from b10_transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(
    variables: Mapping[str, str] | None = None,
    *,
    url: str | None = None,
    timeout: str | None = None,
    interval: str | None = None,
    watch: bool | None = None,
) -> ServerOptions:
    return ServerOptions.read(
        variables or {}, url=url, timeout=timeout, interval=interval, watch=watch
    )


def server(variables: Mapping[str, str] | None) -> ServerProcess:
    return ServerProcess(1, 0.0, "vllm", (), "", variables)


def seals(settings: Settings) -> list[bytes]:
    return [key.seal(b"data") for key in settings.signing_keys]


def test_defaults() -> None:
    found = read()
    assert found == ServerOptions(None, 1800.0, 2.0, 600.0)
    assert read(watch=True).watch_seconds == math.inf
    assert read(watch=False).watch_seconds == 0


def test_environment_variables_count_where_there_is_no_flag() -> None:
    variables = {
        "B10_TRANSFER_VLLM_URL": "http://127.0.0.1:8001/v1/models",
        "B10_TRANSFER_TIMEOUT_S": "60",
        "B10_TRANSFER_INTERVAL_S": " 0.5 ",
    }
    found = read(variables)
    assert str(found.url) == "http://127.0.0.1:8001/v1/models"
    assert (found.timeout, found.interval) == (60.0, 0.5)
    found = read(variables, url="https://h/ready", timeout="7", interval="1")
    assert (str(found.url), found.timeout, found.interval) == ("https://h:443/ready", 7.0, 1.0)


def test_an_empty_variable_is_as_good_as_none() -> None:
    names = ["B10_TRANSFER_VLLM_URL", "B10_TRANSFER_TIMEOUT_S", "B10_TRANSFER_INTERVAL_S"]
    assert read(dict.fromkeys(names, "")) == read()


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e9", "0x10", "1 2"])
@pytest.mark.parametrize("name", ["TIMEOUT_S", "INTERVAL_S"])
def test_a_number_of_seconds_that_is_none(name: str, value: str) -> None:
    variable = f"B10_TRANSFER_{name}"
    with pytest.raises(CacheValidationError) as caught:
        read({variable: value})
    assert f"{variable}={value!r} is not a number of seconds from" in str(caught.value)
    with pytest.raises(CacheValidationError, match="--timeout="):
        read(timeout=value)


@pytest.mark.parametrize(
    "value",
    ["8000", "127.0.0.1:8000", "ftp://h", "http://", "http://:80", "http://h:x", "http://h:99999"],
)
def test_a_url_that_is_none(value: str) -> None:
    with pytest.raises(CacheValidationError) as caught:
        read({"B10_TRANSFER_VLLM_URL": value})
    assert f"B10_TRANSFER_VLLM_URL={value!r}" in str(caught.value)
    with pytest.raises(CacheValidationError, match="--url="):
        read(url=value)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(CacheValidationError) as caught:
        read(url="http://me:word@h/")
    assert "word" not in str(caught.value)
    assert "--url" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("http://h", Endpoint("http", "h", 80)),
        ("http://h:8000/", Endpoint("http", "h", 8000)),
        ("https://h/a%20b?c=d", Endpoint("https", "h", 443, path="/a%20b?c=d")),
        ("http://[::1]:8000/health", Endpoint("http", "::1", 8000)),
        ("unix:/run/vllm.sock", Endpoint("http", "", 0, uds="/run/vllm.sock")),
        ("unix:///run/vllm.sock", Endpoint("http", "", 0, uds="/run/vllm.sock")),
    ],
)
def test_urls(text: str, endpoint: Endpoint) -> None:
    assert parse_url("--url", text) == endpoint


@pytest.mark.parametrize("text", ["unix:", "unix:run/s", "http://h/a b", "http://h/\r\nX: y"])
def test_what_would_not_arrive_as_it_was_meant_is_refused(text: str) -> None:
    with pytest.raises(CacheValidationError):
        parse_url("--url", text)


def test_the_servers_variables_say_where_its_caches_lie() -> None:
    own = Settings.from_environment(
        {"BASETEN_FS_ENABLED": "1", "B10FS_CACHE_DIR": "/ours/store", "VLLM_CACHE_ROOT": "/ours/v"}
    )
    theirs = {"VLLM_CACHE_ROOT": "/theirs/v", "HOME": "/theirs", "B10FS_CACHE_DIR": "/theirs/store"}
    found = settings_for(server(theirs), own)
    assert found.variables["VLLM_CACHE_ROOT"] == "/theirs/v"
    assert found.variables["HOME"] == "/theirs"
    assert (found.store, found.enabled) == ("/ours/store", True)


def test_store_scratch_and_namespace_are_never_the_servers() -> None:
    own = Settings.from_environment({"BASETEN_FS_ENABLED": "1"})
    theirs = {
        "B10FS_CACHE_DIR": "/theirs/store",
        "B10_CACHE_NAMESPACE": "model",
        "B10_CACHE_ROOTS": "mine=/theirs/secrets",
        "LOCAL_WORK_DIR": "/theirs/work",
        "MAX_CACHE_SIZE_MB": "1",
        "BASETEN_FS_ENABLED": "0",
    }
    found = settings_for(server(theirs), own)
    assert dataclasses.replace(found, variables=own.variables) == own


def test_where_the_servers_variables_may_not_be_read_ours_must_do() -> None:
    own = Settings.from_environment({})
    assert settings_for(None, own) is own
    assert settings_for(server(None), own) is own


def test_signing_keys_are_kept() -> None:
    key = "5e" * 32
    own = Settings.from_environment({"B10_CACHE_SIGNING_KEY": key})
    assert len(seals(own)) == 1
    other = settings_for(server({"B10_CACHE_SIGNING_KEY": "ab" * 32}), own)
    assert seals(other) == seals(own)
    assert key not in str(dict(other.variables))
    theirs = settings_for(server({"B10_CACHE_SIGNING_KEY": key}), Settings.from_environment({}))
    assert seals(theirs) == []


def test_a_relative_cache_folder_of_the_servers_lies_below_its_working_folder() -> None:
    variables = {"TORCHINDUCTOR_CACHE_DIR": "x/../ind", "TRITON_CACHE_DIR": "/t", "HOME": "/h"}
    theirs = replace(server(variables), folder="/srv")
    found = settings_for(theirs, Settings.from_environment({})).variables
    folders = {root.name: root.folder for root in resolve_roots(found)}
    assert (folders["inductor"], folders["triton"]) == ("/srv/ind", "/t")
    empty = replace(theirs, variables={**variables, "TORCHINDUCTOR_CACHE_DIR": ""})
    found = settings_for(empty, Settings.from_environment({})).variables
    assert resolve_roots(found, {"inductor": ""})[0].folder == "/srv"
