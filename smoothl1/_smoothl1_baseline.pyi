from collections.abc import Callable
from typing import Any, Self

from numpy import bool_, dtype, float64, int32, int64, uint8
from numpy import ufunc as _ufunc
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from smoothl1._typing import AnyArray

EXACT_SINGLE: tuple[int, int, int]
EXACT_DOUBLE: tuple[int, int, int]
UFUNCS: tuple[str, ...]

def thread_limit() -> int: ...
def team_state() -> tuple[bool, bool]: ...
def team_debt(seconds: float | None = None) -> float: ...
def is_environment_plain() -> bool: ...
def openmp_version() -> int: ...
def fast_loss(
    input: object,
    target: object,
    reduction: object,
    beta: object,
    huber: bool,
    out: object,
    exact: bool,
    n_threads: object,
) -> Any: ...
def fast_value_and_grad(
    input: object,
    target: object,
    reduction: object,
    beta: object,
    huber: bool,
    out: object,
    loss_too: bool,
    n_threads: object,
) -> Any: ...

@disjoint_base
class Tensors:
    def __new__(
        cls,
        types: tuple[type, ...],
        numbers: tuple[Any, Any],
        small_like: Callable[[Any], Any],
        large_like: Callable[[Any], Any],
        large: int,
        kept: int,
    ) -> Self: ...
    def number(self, tensor: object) -> float | None: ...
    def loss(
        self,
        input: object,
        target: object,
        reduction: object,
        threshold: object,
        huber: bool,
        tracked: bool,
        n_threads: int,
    ) -> tuple[Any, Any, bool] | None: ...

def array_operands(
    input: object,
    target: object,
    threshold: object,
    huber: bool,
    weight: object,
    where: object,
    factor: object,
) -> list[Any] | None: ...
def broadcast(a: AnyArray, like: AnyArray) -> AnyArray | None: ...
def are_thresholds(a: AnyArray, huber: bool) -> bool: ...
def are_apart(a: AnyArray, others: tuple[Any, ...]) -> bool: ...

@disjoint_base
class Work:
    def __new__(
        cls,
        input: AnyArray | None,
        target: AnyArray | None,
        *,
        betas: list[float],
        huber: bool,
        single: bool,
        beta: AnyArray | None = None,
        weight: AnyArray | None = None,
        factor: AnyArray | None = None,
        where: AnyArray | None = None,
        order: tuple[int, ...] | None = None,
        n_kept: int = 0,
        n_threads: int = 0,
    ) -> Self: ...
    def sum(self, reduction: str, dtype: dtype[Any]) -> tuple[AnyArray, bool]: ...
    def sum_weights(self) -> float: ...
    def write_values(self, out: AnyArray, overlaps: bool) -> None: ...
    def write_slopes(
        self,
        out: AnyArray,
        overlaps: bool,
        scale: float,
        divisor: float = 1.0,
        *,
        reduction: str | None = None,
        dtype: dtype[Any] = ...,
        values: AnyArray | None = None,
    ) -> tuple[AnyArray, bool] | None: ...
    def write_curvatures(
        self, out: AnyArray, out2: AnyArray, overlaps: bool, majorize: bool
    ) -> None: ...

def as_bfloat16(values: NDArray[float64]) -> NDArray[Any]: ...
def all_finite(a: NDArray[float64]) -> bool: ...
def location(y: NDArray[float64], weight: NDArray[float64] | None, beta: float) -> float: ...
def line_derivatives(
    residual: NDArray[float64],
    direction: NDArray[float64],
    weight: NDArray[float64],
    step: float,
    beta: float,
) -> tuple[float, float]: ...
def exact_sums(
    work: Work,
    first: int,
    outputs: int,
    *,
    linear: bool = False,
    weights: bool = False,
    moments: bool = False,
) -> NDArray[int64]: ...
def exact_form(
    beta: float, huber: bool, single: bool, is_array: bool = False
) -> tuple[float, float, float]: ...
def exact_forms(work: Work) -> tuple[list[tuple[float, float, float]], int, bool]: ...
def exact_carry(rows: NDArray[int64], entries: int, digits: int) -> None: ...
def exact_scan(work: Work) -> NDArray[int64]: ...
def exact_stage(
    work: Work,
    groups: NDArray[int32],
    rows: NDArray[int64],
    memory: NDArray[uint8] | None = None,
) -> NDArray[uint8]: ...
def exact_stage_keys(
    work: Work, keys: NDArray[int64], memory: NDArray[uint8] | None = None
) -> tuple[NDArray[uint8], NDArray[int64] | None, int, int]: ...
def exact_scatter(
    work: Work,
    groups: NDArray[int32],
    table: NDArray[int64],
    windows: NDArray[int64],
    compact: bool = False,
) -> None: ...
def exact_scatter_keys(
    work: Work,
    keys: NDArray[int64],
    least: int,
    lookup: NDArray[int32],
    words: NDArray[int64] | None,
    rows: NDArray[int64],
    windows: NDArray[int64],
) -> None: ...
def exact_unpack(
    compact: NDArray[int64], windows: NDArray[int64], table: NDArray[int64]
) -> None: ...
def exact_carry_table(table: NDArray[int64], windows: NDArray[int64]) -> None: ...
def exact_learn(
    keys: NDArray[int64],
    least: int,
    lookup: NDArray[int32],
    following: int,
    n_threads: int = 1,
) -> tuple[int, NDArray[int64] | None]: ...
def exact_write(
    keys: NDArray[int64],
    least: int,
    lookup: NDArray[int32],
    words: NDArray[int64] | None,
    codes: NDArray[int32],
    n_threads: int = 1,
) -> None: ...
def exact_range(keys: NDArray[int64], n_threads: int = 1) -> tuple[int, int]: ...
def read_groups(
    data: NDArray[uint8],
    at: int,
    stop: int,
    groups: int,
    sums: int,
    most: int,
) -> tuple[NDArray[int64], dict[tuple[int, int], list[int]], int] | None: ...
def read_digits(
    data: NDArray[uint8],
    places: NDArray[int64],
    codes: NDArray[int32],
    table: NDArray[int64],
    windows: NDArray[int64],
) -> None: ...
def exact_figures(
    table: NDArray[int64],
    windows: NDArray[int64],
    order: NDArray[int64],
    betas: list[float],
    huber: bool,
    single: bool,
    reduction: str,
    n_threads: int = 1,
    compact: bool = False,
) -> tuple[NDArray[int64], list[NDArray[float64]], NDArray[bool_]]: ...
def exact_settle(
    work: Work, rows: NDArray[int64], reduction: str
) -> tuple[NDArray[float64], NDArray[bool_]]: ...
def exact_losses(
    work: Work, first: int, outputs: int, reduction: str
) -> tuple[NDArray[float64], NDArray[bool_], NDArray[int64]]: ...
def ufunc(name: str, doc: str) -> _ufunc: ...
