"""The call of a command, and the settings that its options make."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheError, CacheValidationError
from b10_transfer.operations.refusals import refusal

if TYPE_CHECKING:
    import argparse

    from b10_transfer.cli.console import Console
    from b10_transfer.settings import Settings


class NotStoredError(CacheError):
    """There is no such thing in the store."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a command.

    Attributes:
        options: as parsed.
        console: where to write.
    """

    options: argparse.Namespace
    console: Console

    @property
    def wants_json(self) -> bool:
        """Whether the result is to be JSON."""
        return bool(self.options.json)

    def changed_variables(self) -> dict[str, str]:
        """The environment variables that the options set or replace."""
        changed: dict[str, str] = {}
        if self.options.store is not None:
            changed["B10FS_CACHE_DIR"] = os.path.abspath(self.options.store)
            # Whoever names a store means to use it, unless BASETEN_FS_ENABLED turns the cache off.
            changed["BASETEN_FS_ENABLED"] = os.environ.get("BASETEN_FS_ENABLED", "1")
        if self.options.namespace is not None:
            changed["B10_CACHE_NAMESPACE"] = self.options.namespace
        return changed

    def _as_typed(self, message: str) -> str:
        """Return the message, with an option's name in place of the variable that it set."""
        for name, flag in (("B10_CACHE_NAMESPACE", "namespace"), ("B10FS_CACHE_DIR", "store")):
            if getattr(self.options, flag) is not None:
                message = message.replace(f"{name}=", f"--{flag} ")
        return message

    def settings(self) -> Settings:
        """The settings.

        Raises:
            CacheValidationError: one is not acceptable.
            CacheError: there is no folder for temporary files.
        """
        from b10_transfer.settings import Settings

        try:
            settings = Settings.from_environment({**os.environ, **self.changed_variables()})
        except CacheValidationError as error:
            raise CacheValidationError(self._as_typed(str(error)), error.setting) from error
        except OSError as error:
            reason = refusal(error) or (
                f"{error}: set LOCAL_WORK_DIR to a folder that can be written"
            )
            raise CacheError(reason) from error
        if settings.signing_keys:
            from b10_transfer.held_secret import guard_memory

            guard_memory()
        return settings
