"""An artifact of the local tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.format.manifest import Group, Identity

if TYPE_CHECKING:
    from b10_store.digest import Digest


@dataclass(frozen=True, slots=True)
class Candidate:
    """An artifact that is here and could be saved.

    Attributes:
        identity: which artifact it is.
        digest: of its canonical bytes.
        size: of its canonical bytes.
        executable: whether its file has the execute bits.
        mtime_ns: to be restored by loads, or None.
        group_length: see `Entry.group_length`.
        bundle: artifacts of one root and bundle are of use only together; "" for none.
        is_united: its bytes hold all that the stored ones hold, and may replace them.
    """

    identity: Identity
    digest: Digest
    size: int
    executable: bool = False
    mtime_ns: int | None = None
    group_length: int = 0
    bundle: str = ""
    is_united: bool = False

    @property
    def group(self) -> Group | None:
        """The variant group that the artifact is a member of."""
        root, path, requirement = self.identity
        return Group(root, path[: self.group_length], requirement) if self.group_length else None
