"""The ufuncs: the bits of the functions, and what NumPy makes of them."""

import doctest
import inspect
import itertools
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import smoothl1
from smoothl1 import _simd, ufuncs
from smoothl1.ufuncs import huber, huber_curvature, smooth_l1, smooth_l1_curvature, smooth_l1_slope
from tests.cases import bits, by_functions

NAMES = ufuncs.__all__
NUMPY_1 = np.lib.NumpyVersion(np.__version__) < "2.0.0"

every_ufunc = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def specials(dtype):
    info = np.finfo(dtype)
    large, tiny, least = info.max, info.tiny, info.smallest_subnormal
    numbers = [0, -0.0, 1, -1, 0.37, least, -3 * least, tiny, large, -large, large / 3, 2, -7.5]
    return np.array([*numbers, np.inf, -np.inf, np.nan], dtype)


def thresholds(dtype):
    least = np.finfo(dtype).smallest_subnormal
    numbers = [0, -0.0, least, 3 * least, 1e-30, 0.37, 1, 2, 1e30, np.finfo(dtype).max / 2]
    return np.array([*numbers, np.finfo(dtype).max, np.inf, -1, -np.inf, np.nan], dtype)


def operands(dtype, n, seed=0):
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=n) * 2.0 ** rng.integers(-9, 9, n) for _ in range(2))
    return x.astype(dtype), y.astype(dtype), rng.uniform(0, 4, n).astype(dtype)


def assert_bits(name, x, y, threshold, got):
    expected = by_functions(name, x, y, threshold)
    assert bits(got) == bits(expected)


def test_they_are_ufuncs():
    assert sorted(NAMES) == sorted(_simd.core.UFUNCS)
    for name in NAMES:
        found = getattr(ufuncs, name)
        assert type(found) is np.ufunc
        assert (found.nin, found.nout, found.identity) == (3, 1, None)
        assert found.types == ["fff->f", "ddd->d"]
        assert found.signature is None
        assert found.__name__ == name


@every_ufunc
@every_dtype
@pytest.mark.parametrize("n", [0, 1, 2, 16, 17, 255, 256, 257, 1023, 1024, 1025, 5000])
def test_bits_of_the_functions(name, dtype, n):
    x, y, b = operands(dtype, n)
    if n > 16:
        x[:16] = specials(dtype)
    ufunc = getattr(ufuncs, name)
    assert_bits(name, x, y, b, ufunc(x, y, b))
    for number in thresholds(dtype):
        assert_bits(name, x, y, number, ufunc(x, y, number))


@every_ufunc
@every_dtype
def test_every_value_against_every_other(name, dtype):
    x, y, b = specials(dtype)[:, None, None], specials(dtype)[:, None], thresholds(dtype)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        got = getattr(ufuncs, name)(x, y, b)
    assert_bits(name, x, y, b, got)


def strided(a, step):
    """Return the same values at every step-th place of another array."""
    wide = np.full(a.size * abs(step), 99, a.dtype)[:: abs(step)]
    wide = wide[::-1] if step < 0 else wide
    wide[...] = a
    return wide


LAYOUTS = {
    "contiguous": lambda a: a,
    "every second": lambda a: strided(a, 2),
    "backwards": lambda a: strided(a, -1),
    "every third, backwards": lambda a: strided(a, -3),
    "one for all": lambda a: np.broadcast_to(a[3], a.shape),
    "byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1),
}


@every_ufunc
@every_dtype
def test_layouts(name, dtype):
    arrays = operands(dtype, 1500)
    ufunc = getattr(ufuncs, name)
    for layouts in itertools.product(LAYOUTS, repeat=3):
        x, y, b = (LAYOUTS[layout](a) for layout, a in zip(layouts, arrays, strict=True))
        expected = bits(by_functions(name, *(a.astype(dtype) for a in (x, y, b))))
        assert bits(ufunc(x, y, b)) == expected, layouts
        if layouts.count("contiguous") >= 2:
            for layout in ("every second", "backwards", "byte order"):
                out = LAYOUTS[layout](np.zeros(1500, dtype))
                assert ufunc(x, y, b, out=out) is out
                assert bits(out)[1:] == expected[1:], (layouts, layout)


@every_ufunc
def test_shapes(name):
    rng = np.random.default_rng(0)
    ufunc = getattr(ufuncs, name)
    x, y, b = rng.uniform(0.1, 2, (3, 6, 5, 4))
    for arrays in (
        (x.T, y.T, b.T),
        (x.transpose(1, 2, 0), y.transpose(1, 2, 0), b[0, 0, 0]),
        (x[:, ::-1, ::2], y[0, :, :2], b[:, :1, :1]),
        (x[:, :1, 1:1], y[:, :, :1], b[:, :, :1]),
        (x[0, 0, 0], y[0, 0, 0], b),
    ):
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        got = ufunc(*arrays)
        assert got.shape == shape
        assert_bits(name, *arrays, got)
    assert isinstance(ufunc(1.0, 2.0, 1.0), np.float64)
    with pytest.raises(ValueError, match="could not be broadcast together"):
        ufunc(np.ones(3), np.ones(4), 1.0)


@every_ufunc
@every_dtype
@pytest.mark.parametrize("which", [0, 1, 2])
def test_in_place_and_overlapping(name, dtype, which):
    ufunc = getattr(ufuncs, name)
    for places in (
        (slice(None), slice(None)),
        (slice(1, None), slice(None, -1)),  # the operand is ahead
        (slice(None, -1), slice(1, None)),
        (slice(None, None, 2), slice(None, 1000)),
        (slice(None), slice(None, None, -1)),
    ):
        for n in (7, 2000):
            memory = operands(dtype, n, 1)[which]
            source, target = memory[places[0]], memory[places[1]]
            size = min(source.size, target.size)
            source, target = source[:size], target[:size]
            arrays = [a.copy() for a in operands(dtype, size)]
            # Small enough for a gradient without a division to be computed anew.
            arrays[0][::5] = arrays[1][::5] = 1e-35
            arrays[0][1::5] = 0
            arrays[which] = source
            expected = by_functions(name, *(a.copy() for a in arrays))
            ufunc(*arrays, out=target)
            assert bits(target) == bits(expected), (places, n)


@every_dtype
def test_small_differences_in_place(dtype):
    """The gradient without a division is computed twice where a difference is small."""
    x = np.ldexp(np.arange(1, 40, dtype=dtype), -110 if dtype == np.float32 else -1000)
    y = np.zeros_like(x)
    expected = smoothl1.smooth_l1_grad(x, y, "none", 0.37)
    smooth_l1_slope(x, y, 0.37, out=x)
    assert bits(x) == bits(expected)


@every_dtype
def test_differences_that_overflow_in_place(dtype):
    large = np.finfo(dtype).max
    x, y = np.full(300, large * 0.75, dtype), np.full(300, large * -0.75, dtype)
    for ufunc in (smooth_l1, smooth_l1_slope, smooth_l1_curvature):
        for b in (large, np.full(300, large)):
            expected = by_functions(ufunc.__name__, x, y, dtype(b))
            a = x.copy()
            ufunc(a, y, dtype(b), out=a)
            assert bits(a) == bits(expected)
    assert np.isfinite(smooth_l1(x, y, large)).all()


@every_ufunc
def test_thresholds_that_are_none_give_nan(name):
    ufunc = getattr(ufuncs, name)
    zero = [] if name.startswith("smooth_l1") else [0.0, -0.0]
    for dtype in (np.float32, np.float64):
        x = np.arange(5, dtype=dtype)
        for bad in (-1.0, -np.finfo(dtype).smallest_subnormal, -np.inf, np.nan, *zero):
            assert np.isnan(ufunc(x, 0, dtype(bad))).all()
            got = ufunc(x, 0, np.array([1, bad, 1, bad, 1], dtype))
            np.testing.assert_array_equal(np.isnan(got), [False, True, False, True, False])
    if zero:  # what rounds to 0
        assert np.isnan(ufunc(np.float32([1.0]), 0, 1e-60)).all()


def test_a_threshold_of_zero_is_the_l1_loss():
    x = np.array([-2.0, 0.0, 3.0, np.nan])
    np.testing.assert_array_equal(smooth_l1(x, 0, 0), abs(x))
    np.testing.assert_array_equal(smooth_l1_slope(x, 0, 0), np.sign(x))
    np.testing.assert_array_equal(smooth_l1_curvature(x, 0, 0), [0, 0, 0, np.nan])


def test_curvature_of_huber_with_infinite_thresholds():
    x = np.array([0.0, 1.0, np.inf, np.nan])
    for delta in (np.inf, np.full(4, np.inf)):
        np.testing.assert_array_equal(huber_curvature(x, 0, delta), [1, 1, 0, np.nan])


INTEGERS = ["?", *"bBhHiIlLqQ"]


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_are_computed_in_float64(kind):
    a, single, double = np.array([3, 0, 1]).astype(kind), np.float32([1.5]), np.array([1.5])
    for x, y, b in itertools.product((a, single, double), (a, single, 0.5), (a, single, 0.5)):
        if any(operand is a for operand in (x, y, b)):
            got = smooth_l1(x, y, b)
            assert got.dtype == np.float64
            wide = (np.asarray(operand, np.float64) for operand in (x, y, b))
            assert bits(got) == bits(smooth_l1(*wide))
    # Whatever came before: NumPy keeps what it has found for dtypes.
    assert smooth_l1(a[:1].reshape(()), single, single).dtype == (
        np.float32 if NUMPY_1 and kind not in "?bBhH" else np.float64
    )


def test_python_numbers_take_the_dtype_of_arrays():
    single, half = np.float32([1.0, 2.0]), np.float16([1.0, 2.0])
    for number in (1, 0.37):
        assert smooth_l1(single, 0, number).dtype == np.float32
        assert smooth_l1(number, single, number).dtype == np.float32
        assert smooth_l1(half, number, number).dtype == np.float32
        assert smooth_l1(single, np.ones(2), number).dtype == np.float64
        assert smooth_l1(number, number, number).dtype == np.float64
    expected = smoothl1.smooth_l1_loss(half.astype("f4"), 0.0, "none", 0.37)
    assert bits(smooth_l1(half, 0.0, 0.37)) == bits(expected)


@pytest.mark.parametrize(
    "bad", [1j, np.ones(2, "G"), "a", [None], np.ones(2, "g"), np.ones(2, "M8[s]")]
)
def test_what_is_not_real_is_refused(bad):
    for arrays in ((bad, 0.0, 1.0), (np.int8([1]), bad, 1.0), (np.ones(2), 0.0, bad)):
        with pytest.raises(TypeError, match="'smooth_l1' not supported for the input types"):
            smooth_l1(*arrays)


@every_ufunc
def test_options(name):
    ufunc = getattr(ufuncs, name)
    x, y, b = operands(np.float64, 700)
    narrow = by_functions(name, *(a.astype(np.float32) for a in (x, y, b)))
    for options in ({"dtype": "f4"}, {"signature": "fff->f"}):
        assert bits(ufunc(x, y, b, casting="same_kind", **options)) == bits(narrow)
    got = ufunc(narrow, 0, b, dtype="f8")
    assert bits(got) == bits(by_functions(name, narrow.astype("f8"), np.zeros(700), b))
    out = np.empty(700, np.float32)
    ufunc(x, y, b, out=(out,))
    assert bits(out) == bits(by_functions(name, x, y, b).astype(np.float32))
    with pytest.raises(TypeError, match="Cannot cast"):
        ufunc(x, y, b, out=out, casting="safe")
    with pytest.raises(TypeError, match="Cannot cast"):
        ufunc(x, y, b, out=np.empty(700, np.int64))
    with pytest.raises(TypeError, match="No loop matching"):
        ufunc(x, y, b, dtype="i8")
    for where in (x > 0, np.arange(700) % 7 < 5, np.zeros(700, bool)):
        out = np.full(700, 9.0)
        ufunc(x, y, b, where=where, out=out)
        assert bits(out) == bits(np.where(where, by_functions(name, x, y, b), 9.0))
        ufunc(x, y, 0.37, where=where, out=out)
        assert bits(out) == bits(np.where(where, by_functions(name, x, y, 0.37), 9.0))


def test_methods_for_two_operands_are_refused():
    for method in ("reduce", "accumulate", "outer"):
        with pytest.raises(ValueError, match="only supported for binary functions"):
            getattr(huber, method)(np.ones(3))
    with pytest.raises(ValueError, match="Only unary and binary ufuncs"):
        huber.at(np.ones(3), [0], 1.0)


def test_warnings_of_casts_are_kept():
    """The loop clears what it has raised itself, and nothing of others."""
    x = np.full(20_000, 1e300)
    for extra in ({"dtype": "f4", "casting": "same_kind"}, {"out": np.empty(x.size, "f4")}):
        with pytest.warns(RuntimeWarning, match="overflow encountered"):
            huber(x, 0.0, 1.0, **extra)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        huber(np.float32([3e38, -3e38, np.inf]), np.float32([-3e38, 3e38, np.inf]), 1e30)


def test_many_threads_at_once():
    """The loops hold no state; NumPy releases the GIL around them."""
    x, y, b = operands(np.float32, 200_000)
    calls = [
        lambda number=number: bits(smooth_l1(x[::2], y[::2], number))
        for number in (*np.linspace(0, 3, 10, dtype=np.float32), b[::2])
    ]
    expected = [call() for call in calls]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda call: call(), calls * 3)) == expected * 3


def test_pickle_names_the_public_module():
    for name in NAMES:
        stored = pickle.dumps(getattr(ufuncs, name), protocol=0)
        assert stored.startswith(f"csmoothl1.ufuncs\n{name}\n".encode())
        assert pickle.loads(stored) is getattr(ufuncs, name)


@every_ufunc
def test_documentation(name):
    found = inspect.getdoc(getattr(ufuncs, name))
    threshold = "delta" if name.startswith("huber") else "beta"
    assert f"\n{name}(x, y, {threshold}, /, out=None" in found
    for section in ("Parameters", "Returns", "See Also", "Notes", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in found
    assert ufuncs.__test__[name] == getattr(ufuncs, name).__doc__


# ---------------------------------------------------------------------------
# Other libraries
# ---------------------------------------------------------------------------


def test_pandas_aligns_and_keeps_the_index():
    pd = pytest.importorskip("pandas")
    s = pd.Series([1, 5, 2.0], index=[7, 8, 9], name="p")
    t = pd.Series([0, 0, 2.0], index=[9, 8, 7], name="p")
    got = smooth_l1(s, t, 1.0)
    pd.testing.assert_series_equal(got, pd.Series([0.5, 4.5, 1.5], index=[7, 8, 9], name="p"))
    got = smooth_l1(s, t, pd.Series([2.0, 1.0], index=[8, 9]))
    pd.testing.assert_series_equal(got, pd.Series([np.nan, 4, 1.5], index=[7, 8, 9]))
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]}, index=["u", "v"])
    got = huber(frame, frame[["b", "a"]].loc[["v", "u"]] + 1, 2.0)
    pd.testing.assert_frame_equal(got, frame * 0 + 0.5)
    with pytest.raises(NotImplementedError, match="mixed DataFrame and Series"):
        huber(frame, frame["a"], 1.0)
    got = frame.apply(lambda column: huber(column, frame["a"], 1.0))  # docs/ufuncs.md
    assert got.to_numpy().tolist() == [[0, 1.5], [0, 2.5]]


def test_pandas_keeps_what_is_missing():
    pd = pytest.importorskip("pandas")
    s, t = pd.Series([1, None, 3], dtype="Float32"), pd.Series([1, 2, 7], dtype="Float32")
    got = smooth_l1(s, t, 1.0)
    pd.testing.assert_series_equal(got, pd.Series([0, None, 3.5], dtype="Float32"))
    got = smooth_l1(s.astype("Int64"), t, 1.0)
    assert got.isna().tolist() == [False, True, False]


def test_polars():
    pl = pytest.importorskip("polars")
    p, t = pl.Series("p", [1.0, 5.0, None]), pl.Series("t", [0.0, 0.0, 1.0])
    assert smooth_l1(p, t, 1.0).to_list() == [0.5, 4.5, None]
    assert smooth_l1(p.cast(pl.Float32), t.cast(pl.Float32), 1.0).dtype == pl.Float32
    assert smooth_l1(p.cast(pl.Int8), t.cast(pl.Int8), 1.0).dtype == pl.Float64
    chunks = pl.concat([p[:1], p[1:]], rechunk=False)
    assert smooth_l1(chunks, t, pl.Series([1.0, 2.0, 3.0])).to_list() == [0.5, 4.0, None]


def test_polars_expressions_are_lazy():
    pl = pytest.importorskip("polars")
    frame = pl.LazyFrame({"p": [1.0, 5.0, 2.0], "t": [0.0, 0.0, 0.0], "g": [1, 1, 2]})
    loss = smooth_l1(pl.col("p"), pl.col("t"), 1.0).alias("loss")
    assert isinstance(loss, pl.Expr)
    lazy = frame.select("g", loss)
    assert lazy.collect_schema()["loss"] == pl.Float64
    assert lazy.collect()["loss"].to_list() == [0.5, 4.5, 1.5]
    grouped = lazy.group_by("g", maintain_order=True).agg(pl.col("loss").sum()).collect()
    assert grouped["loss"].to_list() == [5.0, 1.5]


def test_xarray_joins_by_name():
    xr = pytest.importorskip("xarray")
    x = xr.DataArray(np.eye(2), dims=("a", "b"), coords={"a": [1, 2]}, name="x")
    y = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("b", "a"), coords={"a": [2, 1]})
    got = smooth_l1(x, y, 1.0)
    expected = smooth_l1(x.data, y.data.T[::-1], 1.0)
    assert got.dims == ("a", "b")
    assert got.coords["a"].values.tolist() == [1, 2]
    np.testing.assert_array_equal(got, expected)
    got = smooth_l1(x, 0.0, xr.DataArray([1.0, 2.0], dims="b"))
    np.testing.assert_array_equal(got, [[0.5, 0], [0, 0.25]])


def test_dask_is_lazy():
    da = pytest.importorskip("dask.array")
    x = da.ones((10, 10), chunks=(5, 10), dtype="f4")
    got = smooth_l1(x, x * 3, np.arange(10.0, dtype="f4"))
    assert isinstance(got, da.Array)
    assert (got.chunks, got.dtype) == (x.chunks, np.float32)
    ones = np.ones((10, 10), "f4")
    assert bits(got.compute()) == bits(smooth_l1(ones, ones * 3, np.arange(10, dtype="f4")))


def test_dask_frames():
    """What docs/ufuncs.md says of columns of one frame, and of two."""
    dd = pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    plain = pd.DataFrame({"p": [1.0, 5.0, 2.0, 0.5], "t": [0.0, 0.0, 2.0, 0.0]})
    frame = dd.from_pandas(plain, npartitions=2)
    other = dd.from_pandas(plain[["t"]] * 2, npartitions=1)
    found = frame.assign(loss=smooth_l1(frame.p, frame.t, 1.0))
    assert isinstance(found, dd.DataFrame)
    expected = smooth_l1(plain.p, plain.t, 1.0)
    assert found.compute()["loss"].to_list() == expected.to_list()
    paired = frame.assign(other=other.t)
    found = smooth_l1(paired.p, paired.other, 1.0)
    assert isinstance(found, dd.Series)
    assert found.compute().to_list() == smooth_l1(plain.p, 2 * plain.t, 1.0).to_list()


def test_dask_within_xarray():
    pytest.importorskip("dask.array")
    xr = pytest.importorskip("xarray")
    x = xr.DataArray(np.eye(4), dims=("a", "b")).chunk({"a": 2})
    got = huber(x, 0.0, 0.5)
    assert got.chunks == x.chunks
    np.testing.assert_array_equal(got.compute(), np.eye(4) * 0.375)


def test_units_of_pint():
    """It refuses what it does not know; docs/ufuncs.md has what this does."""
    pint = pytest.importorskip("pint")
    from pint.facets.numpy.numpy_func import HANDLED_UFUNCS, implements

    units = pint.UnitRegistry()
    x = np.array([1.0, 200.0]) * units.cm
    with pytest.raises(TypeError, match="NotImplemented"):
        huber(x, 0.0, 1.0)

    @implements("huber", "ufunc")
    def huber_of_quantities(x, y, delta, *args, **kwargs):
        y, delta = y.m_as(x.units), delta.m_as(x.units)
        return x._REGISTRY.Quantity(huber(x.magnitude, y, delta, *args, **kwargs), x.units**2)

    try:
        got = huber(x, 1 * units.m, 50 * units.cm)
        assert got.units == units.cm**2
        np.testing.assert_array_equal(got.magnitude, huber([1.0, 200.0], 100.0, 50.0))
    finally:
        del HANDLED_UFUNCS["huber"]


def test_units_of_astropy():
    units = pytest.importorskip("astropy.units")
    x = np.array([1.0, 200.0]) * units.cm
    with pytest.raises(TypeError, match="unknown ufunc huber"):
        huber(x, 0 * units.cm, 1 * units.cm)
    from astropy.units.quantity_helper import UFUNC_HELPERS
    from astropy.units.quantity_helper.helpers import get_converters_and_unit

    def helper(f, x, y, delta):
        (_, of_y), unit = get_converters_and_unit(f, x, y)
        (_, of_delta), _ = get_converters_and_unit(f, unit, delta)
        return [None, of_y, of_delta], unit**2

    UFUNC_HELPERS[huber] = helper
    try:
        got = huber(x, 1 * units.m, 50 * units.cm)
        assert got.unit == units.cm**2
        np.testing.assert_array_equal(got.value, huber([1.0, 200.0], 100.0, 50.0))
    finally:
        del UFUNC_HELPERS[huber]


def test_masked_arrays_keep_their_mask():
    got = smooth_l1(np.ma.array([1.0, 2.0], mask=[False, True]), 0.0, 1.0)
    assert got.mask.tolist() == [False, True]
    assert got[0] == 0.5


def test_the_page_about_them():
    page = Path(__file__).parent.parent / "docs" / "ufuncs.md"
    if not page.exists():
        pytest.skip("the documentation is not here")
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert (failed, tried) == (0, 4)


def test_the_package_does_not_import_them():
    """They are made at the first import of their module; nothing else needs NumPy's API for it."""
    assert "smoothl1.ufuncs" in sys.modules
    assert not hasattr(_simd.core, "smooth_l1")  # where pickle would find it first
