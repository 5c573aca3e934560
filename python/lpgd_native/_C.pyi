from typing import Any, TypeAlias, TypedDict

from numpy.typing import NDArray

class _NativeBuildInfo(TypedDict):
    version: str
    compiler: str
    build_type: str
    isa: str
    isa_detected: str
    isa_compiled: tuple[str, ...]
    isa_ignored_request: str | None
    cuda_compiler: str
    cuda_architectures: tuple[str, ...]
    torch_built: str
    torch_oldest: str
    pybind11: str

prox_separable_kinds: dict[str, int]
prox_rows_kinds: dict[str, int]

def build_info() -> _NativeBuildInfo: ...
def take_interrupt() -> BaseException | None: ...

_MaybeArray: TypeAlias = NDArray[Any] | None

def solve_qp_float64(
    P: _MaybeArray,
    q: NDArray[Any],
    G: _MaybeArray,
    h: _MaybeArray,
    A: _MaybeArray,
    b: _MaybeArray,
    lb: _MaybeArray,
    ub: _MaybeArray,
    eps: float,
    max_iter: int,
    threads: int,
) -> tuple[NDArray[Any], ...]: ...
def solve_qp_float32(
    P: _MaybeArray,
    q: NDArray[Any],
    G: _MaybeArray,
    h: _MaybeArray,
    A: _MaybeArray,
    b: _MaybeArray,
    lb: _MaybeArray,
    ub: _MaybeArray,
    eps: float,
    max_iter: int,
    threads: int,
) -> tuple[NDArray[Any], ...]: ...
