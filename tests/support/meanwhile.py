"""A store in which something happens, or fails, in the middle of an operation."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from b10_store.remote.protocol import Remote
    from tests.support.wrapped_remote import Call

ALWAYS = 1 << 30
"""So many times as an operation likes."""


class Meanwhile(WrappedRemote):
    """Something happens at some of the calls; what it raises is their answer.

    Safe where several threads use the remote.
    """

    def __init__(
        self,
        inner: Remote,
        happen: Callable[[], object],
        effects: str = "",
        part: str = "",
        *,
        first: int = 1,
        times: int = 1,
        afterwards: bool = False,
    ) -> None:
        """Wrap a remote.

        Args:
            inner: the remote.
            happen: what happens.
            effects: at which calls, with spaces between them; "": at all.
            part: at files that have it in their names alone.
            first: the number of the first such call at which it happens, from 1.
            times: at how many calls.
            afterwards: whether it happens when the call is done, instead of before.
        """
        super().__init__(inner)
        self._happen, self._effects, self._part = happen, effects.split(), part
        self._numbers, self._turns = itertools.count(1), range(first, first + times)
        self._afterwards = afterwards
        self.happened = 0
        """How often it did."""

    def before(self, call: Call) -> None:
        """See `WrappedRemote.before`."""
        if not self._afterwards:
            self._meet(call)

    def after(self, call: Call) -> None:
        """See `WrappedRemote.after`."""
        if self._afterwards:
            self._meet(call)

    def _meet(self, call: Call) -> None:
        is_meant = not self._effects or call.effect in self._effects
        # Each number is given to one thread.
        if is_meant and self._part in call.name and next(self._numbers) in self._turns:
            self.happened += 1
            self._happen()


def failing(
    inner: Remote,
    error: BaseException,
    effects: str = "",
    part: str = "",
    *,
    first: int = 1,
    times: int = ALWAYS,
    afterwards: bool = False,
) -> Meanwhile:
    """Let some calls fail: before anything is done, or afterwards, as when an answer is lost."""

    def fail() -> NoReturn:
        raise error

    return Meanwhile(inner, fail, effects, part, first=first, times=times, afterwards=afterwards)
