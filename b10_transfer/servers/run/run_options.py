"""The options of `run`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from b10_transfer.operations.progress import ProgressCallback


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The things to do around the command.

    Attributes:
        load: whether to load before the start.
        load_timeout: seconds after which a load is given up and the command is started without the
            rest. By default two minutes: a minute for another load of this host, and another for
            the bytes, which is less than compiling takes.
        save: whether to save what the command compiles.
        save_timeout: the longest, in seconds, that the command's end is followed by a last save;
            0: there is none. By default ten of the thirty seconds that Kubernetes gives in all.
        url: what answers 200 when the server is ready; by default B10_TRANSFER_VLLM_URL, or else it
            is found.
        ready_timeout: seconds until a server must be ready; after that nothing is saved. By default
            B10_TRANSFER_TIMEOUT_S, or else half an hour.
        interval: seconds between two looks at it; by default B10_TRANSFER_INTERVAL_S, or else two.
        server_user: the user, by name or number, whose processes are believed beside our own.
        display: shows how far the load is; it yields what is told.
    """

    load: bool = True
    load_timeout: float = 120.0
    save: bool = True
    save_timeout: float = 10.0
    url: str | None = None
    ready_timeout: float | None = None
    interval: float | None = None
    server_user: str | None = None
    display: Callable[[], AbstractContextManager[ProgressCallback | None]] = field(
        default=nullcontext, compare=False
    )
