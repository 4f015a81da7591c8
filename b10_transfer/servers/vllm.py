"""The public function `save_vllm_compile_cache`."""

from __future__ import annotations

import logging
import threading

from b10_transfer.errors import CacheError
from b10_transfer.operations.imports import import_for
from b10_transfer.operations.refusals import refusal

_logger = logging.getLogger("b10_transfer")

_SETTINGS_SECONDS = 60.0


def save_vllm_compile_cache() -> None:
    """Load, wait until the vLLM server beside this process is ready, and save what it compiled.

    The server is found as `b10-compile-cache` finds it, or asked at B10_TRANSFER_VLLM_URL. It may
    be started before or after the call, by this process or by another one near it.

    The call never raises, and does not end this process. It returns when the save is done, when the
    server ends, or when it was not ready within B10_TRANSFER_TIMEOUT_S seconds (1800). A load or a
    save from a shared folder that does not answer is given up after that time, too. The log has the
    outcome.
    """
    try:
        import_for("load", "save", "accompany")
        from b10_transfer.servers.follow.companion import accompany
        from b10_transfer.servers.operations import call_within
        from b10_transfer.servers.options import ServerOptions
        from b10_transfer.servers.saving import Pace
        from b10_transfer.settings import Settings

        settings = call_within(_SETTINGS_SECONDS, Settings.from_environment, "settings")
        options = ServerOptions.read(settings.variables, watch=False)
        pace = Pace(save_limit=options.timeout)
        accompany(settings, options, threading.Event(), pace=pace)
    except CacheError as error:
        _logger.error("save_vllm_compile_cache: %s", error)  # noqa: TRY400  # one line
    except Exception as error:
        # A model server must start whatever is wrong with its cache.
        reason = refusal(error)
        _logger.error(  # noqa: TRY400  # the traceback is there where nobody foresaw it
            "save_vllm_compile_cache: %s",
            reason or "unexpected failure; please report it",
            exc_info=None if reason else error,
        )
