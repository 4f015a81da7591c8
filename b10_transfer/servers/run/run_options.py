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
        load_timeout: seconds after which a load is given up and the command starts without the
            rest. Two minutes by default: one for another load of this host, and one for the bytes,
            which is less than compiling takes.
        save: whether to save what the command compiles.
        save_timeout: seconds that the last save, after the command's end, may take; 0: no last
            save. Ten by default, of the thirty that Kubernetes grants in all.
        url: the address that answers 200 when the server is ready; by default
            B10_TRANSFER_VLLM_URL, or else the server is found.
        ready_timeout: seconds until a server must be ready; after that nothing is saved. By default
            B10_TRANSFER_TIMEOUT_S, or else half an hour.
        interval: seconds between two looks at it; by default B10_TRANSFER_INTERVAL_S, or else two.
        server_user: the user, by name or number, whose processes are believed beside our own.
        display: shows the progress of the load; it yields the callback for it.
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
