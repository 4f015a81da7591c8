from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from b10_transfer.caches.kinds import INDUCTOR, SGLANG, TRITON, VLLM, RootKind, user_kind
from b10_transfer.caches.timings import unite_timings

DIGITS = "0123456789abcdef" * 4

Timings = dict[str, Any]

NAMES = st.sampled_from(["mm", "bmm", "addmm", "highest", "high", "1", "2"])
TREES: st.SearchStrategy[Timings] = st.dictionaries(
    NAMES,
    st.recursive(
        st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: st.dictionaries(NAMES, inner, max_size=4),
        max_leaves=8,
    ),
    max_size=4,
)


def written(content: object, indent: int | None = 4) -> bytes:
    """As Inductor writes it."""
    return json.dumps(content, indent=indent).encode()


def united(others: Timings, preferred: Timings) -> Timings:
    content: Timings = json.loads(unite_timings(written(others), written(preferred)))
    return content


def leaves(tree: Timings) -> dict[tuple[str, ...], Any]:
    """Everything that a tree says, by where it says it; an empty tree within it says nothing."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            inner = leaves(cast("Timings", value))
            found |= {(name, *rest): leaf for rest, leaf in inner.items()}
        else:
            found[name,] = value
    return found


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (INDUCTOR, f"cache/{DIGITS}"),
        (VLLM, f"torch_compile_cache/0123/rank_0_0/inductor_cache/cache/{DIGITS}"),
        (SGLANG, f"inductor/cache/{DIGITS}"),
    ],
)
def test_the_file_of_timings_is_known_by_its_path_where_inductor_has_a_folder(
    kind: RootKind, path: str
) -> None:
    assert kind.timings.fullmatch(path)


@pytest.mark.parametrize("kind", [TRITON, user_kind("mine", "/mine")])
def test_in_other_roots_nothing_is_taken_for_timings(kind: RootKind) -> None:
    assert not kind.timings.fullmatch(f"cache/{DIGITS}")


@pytest.mark.parametrize(
    "path",
    [
        "cache/0123456789abcdef",
        f"cache/{DIGITS}0",
        f"cache/{DIGITS}.json",
        f"cache/{DIGITS.upper()}",
        f"cache/{DIGITS}/file",
        f"mycache/{DIGITS}",
        DIGITS,
        f"cache/{DIGITS}\n",
        "dynamo/code_state_0.pkl",
        "ab/cabc.best_config",
    ],
)
def test_no_other_file_is_taken_for_timings(path: str) -> None:
    assert not INDUCTOR.timings.fullmatch(path)


def test_what_only_one_knows_is_kept_and_of_what_both_know_what_is_preferred() -> None:
    others = {"cache": {"mm": {"a": {"highest": {"x": 1.0, "y": 2.0}}}, "bmm": {}}, "system": 1}
    preferred = {"cache": {"mm": {"a": {"highest": {"y": 9.0, "z": 3.0}}, "b": {}}}, "system": 2}
    assert united(others, preferred) == {
        "cache": {"mm": {"a": {"highest": {"x": 1.0, "y": 9.0, "z": 3.0}}, "b": {}}, "bmm": {}},
        "system": 2,
    }


@given(TREES, TREES)
def test_nothing_that_either_knows_is_lost_unless_the_preferred_says_otherwise(
    others: Timings, preferred: Timings
) -> None:
    found = leaves(united(others, preferred))
    ours = leaves(preferred)
    assert ours.items() <= found.items()
    for place, value in leaves(others).items():
        contradicted = any(
            place[: len(own)] == own or own[: len(place)] == place for own in ours
        ) or _is_empty_tree(preferred, place)
        assert contradicted or found[place] == value
    assert found.keys() <= ours.keys() | leaves(others).keys()


def _is_empty_tree(tree: Timings, place: tuple[str, ...]) -> bool:
    """Whether a tree, possibly empty, is where the other has a value."""
    for name in place:
        value = tree.get(name)
        if not isinstance(value, dict):
            return False
        tree = cast("Timings", value)
    return True


@given(TREES, TREES)
def test_to_unite_again_changes_nothing(others: Timings, preferred: Timings) -> None:
    once = unite_timings(written(others), written(preferred))
    assert unite_timings(written(others), once) == once
    assert unite_timings(once, once) == once
    assert unite_timings(once, written(preferred)) == once


@given(TREES, TREES)
def test_one_that_holds_all_of_the_other_stays_as_it_is_byte_by_byte(
    tree: Timings, more: Timings
) -> None:
    content = united(tree, more)
    whole = written(content, indent=3)
    assert unite_timings(written(more, indent=None), whole) == whole
    assume(content != more)
    assert unite_timings(whole, written(more, indent=None)) == whole


def test_timings_that_are_no_numbers_are_kept_and_unite_to_the_same_each_time() -> None:
    # Inductor notes infinity for a kernel that failed.
    others = written({"mm": {"x": math.inf, "y": math.nan, "z": 1.0}})
    preferred = written({"mm": {"y": math.nan, "w": -math.inf}})
    once = unite_timings(others, preferred)
    assert b"NaN" in once
    assert json.loads(once)["mm"].keys() == {"x", "y", "z", "w"}
    assert unite_timings(preferred, once) == once
    assert unite_timings(others, once) == once


DAMAGED = [
    pytest.param(b"", id="empty"),
    pytest.param(b'{"cache": {"mm', id="cut short"),
    pytest.param(b"\0" * 100, id="zeros"),
    pytest.param(b"\xff\xfe{", id="no text"),
    pytest.param(b"[1, 2]", id="a list"),
    pytest.param(b"null", id="nothing"),
    pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="nested too deeply"),
    pytest.param(b'{"a": ' + b"1" * 10_000 + b"}", id="a number too long to read"),
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_of_a_damaged_one_and_a_good_one_the_good_one_is_left(damaged: bytes) -> None:
    good = written({"cache": {"mm": {"x": 1.0}}})
    assert unite_timings(damaged, good) == good
    assert unite_timings(good, damaged) == good


@pytest.mark.parametrize("damaged", DAMAGED)
def test_of_two_damaged_ones_nothing_is_made(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|digits"):
        unite_timings(damaged, b"{")
    with pytest.raises(ValueError, match=r"JSON|digits"):
        unite_timings(b"{", damaged)
