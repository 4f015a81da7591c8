from collections.abc import Callable

class compilation_knobs:
    listener: Callable[..., None] | None

compilation: compilation_knobs
