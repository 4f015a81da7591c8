# The part of Triton (which ships no types) that the kernels in tools/ use.

from collections.abc import Callable
from typing import Generic, ParamSpec

from triton import knobs as knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

_P = ParamSpec("_P")

class JITFunction(Generic[_P]): ...

def jit(fn: Callable[_P, None]) -> JITFunction[_P]: ...
def compile(src: ASTSource, target: GPUTarget | None = None) -> CompiledKernel: ...  # noqa: A001 (Triton's name)
