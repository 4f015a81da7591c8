"""Parts of the engine without what protects them: each loses something, sooner or later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from b10_store.errors import FencedError
from b10_store.gc.trash import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b10_store.format.names import PackId
    from b10_store.gc.stages import Stages
    from b10_store.gc.trash import TrashFolder
    from b10_store.remote.protocol import Remote
    from b10_store.save.session import Session


def no_fence(stages: Stages, folder: TrashFolder, _now: float) -> None:
    stages.mark(folder, Stage.FENCED)


def no_witness(stages: Stages, folder: TrashFolder) -> None:
    stages.mark(folder, Stage.WITNESSED, b"[]")


def one_look(real: Callable[..., Any]) -> Callable[..., Any]:
    """A saver that believes what it saw before its token was created."""
    views: dict[int, Any] = {}

    def look(remote: Remote, *arguments: Any) -> Any:
        if id(remote) not in views:
            views[id(remote)] = (remote, real(remote, *arguments))
        return views[id(remote)][1]

    return look


def nothing_is_referenced(*_: object) -> frozenset[PackId]:
    return frozenset()


def publish_by_name(own: Session, chunks: Iterable[bytes]) -> None:
    """A saver that writes a new file under its token's name."""
    remote: Remote = vars(own)["_remote"]
    name = own.name
    folder, _, file = name.session_path.partition("/")
    remote.create(folder, file, chunks)
    try:
        remote.rename(name.session_path, name.manifest_path)
    except FileNotFoundError as error:
        raise FencedError("moved away") from error
