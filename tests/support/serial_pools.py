"""A pool without threads, so that what a test steps through happens in one order."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Self

_Result = TypeVar("_Result")


class SerialPool:
    """Takes the place of `ThreadPoolExecutor`: everything is done when it is submitted."""

    def __init__(self, *_: object, **__: object) -> None:
        """Whatever is asked for."""

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def submit(self, work: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """Do it now."""
        future: Future[_Result] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001  # whoever asks for the result gets it
            future.set_exception(error)
        return future

    def map(self, work: Callable[..., _Result], *items: Iterable[Any]) -> Iterator[_Result]:
        """Do it now, one after the other."""
        return iter([work(*each) for each in zip(*items, strict=False)])

    def shutdown(self, **_: object) -> None:
        """Nothing to end."""
