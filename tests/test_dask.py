"""Losses of Dask arrays: the bits of ``exact=True``, however the arrays are cut."""

import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import smoothl1
import smoothl1.dask as sd
from smoothl1 import LossSums
from tests import exact

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

REDUCTIONS = ("mean", "sum", "weighted_mean")


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def same(lazy, expected):
    found = lazy.compute()
    assert lazy.dtype == expected.dtype
    assert lazy.shape == expected.shape
    found = np.asarray(found)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    nan = np.isnan(found)
    assert np.array_equal(nan, np.isnan(expected))
    assert found[~nan].tobytes() == np.asarray(expected)[~nan].tobytes()


def chunks_of(rng, n, most):
    """A way to cut n elements, empty blocks among them."""
    cuts = np.sort(rng.integers(0, n + 1, rng.integers(0, most)))
    return tuple(np.diff([0, *cuts.tolist(), n]).tolist())


def cut(rng, a):
    return da.from_array(a, chunks=tuple(chunks_of(rng, n, 9 // a.ndim) for n in a.shape))


def test_importing_it_imports_no_dask():
    code = """
        import sys
        import smoothl1.dask
        heavy = {"dask", "dask_array", "distributed", "pandas", "pyarrow", "sklearn", "xarray"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        try:
            smoothl1.dask.smooth_l1_loss([1.0], [2.0])
        except TypeError as error:
            assert "no argument is a Dask array" in str(error)
        assert not heavy & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


@pytest.mark.parametrize("seed", range(12))
def test_chunks_decide_nothing(dtype, seed):
    rng = np.random.default_rng(seed)
    shape = [(300,), (20, 15), (4, 9, 8)][seed % 3]
    n = int(np.prod(shape))
    x, y = (exact.hostile(rng, n, dtype, spread).reshape(shape) for spread in (30, 20))
    if seed % 4 == 0:
        x.flat[rng.integers(n)] = rng.choice([np.nan, np.inf, -np.inf])
    options = {}
    if seed % 2:
        options["weight"] = rng.uniform(0.1, 1, shape[seed % 2 :] or ()).astype(dtype)
    if seed % 3:
        options["where"] = rng.random(shape) < 0.6
        options["where"][0] = options["where"][..., 0] = True
    lazy = {
        name: cut(rng, a) if rng.random() < 0.7 and a.ndim else a for name, a in options.items()
    }
    beta = float(rng.choice([0.0, 0.37, 1.0, np.inf]))
    how = REDUCTIONS[seed % 3] if "weight" in options else REDUCTIONS[seed % 2]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            a, b = cut(rng, x), cut(rng, y)
            for axis in (None, 0, -1, tuple(range(len(shape)))):
                expected = smoothl1.smooth_l1_loss(
                    x, y, how, beta, axis=axis, exact=True, **options
                )
                same(sd.smooth_l1_loss(a, b, how, beta, axis=axis, **lazy), expected)
            expected = smoothl1.huber_loss(x, y, how, 0.7, exact=True, **options)
            same(sd.huber_loss(a, y, how, 0.7, split_every=2, **lazy), expected)
            path = [0.0, 0.37, 5.0]
            expected = smoothl1.smooth_l1_path(x, y, path, how, exact=True, **options)
            same(sd.smooth_l1_path(x, b, path, how, **lazy), expected)


@pytest.mark.parametrize("reduction", ["none", *REDUCTIONS])
@pytest.mark.parametrize("selects", [False, True])
@pytest.mark.parametrize("name", ["smooth_l1", "huber"])
def test_gradients(dtype, reduction, selects, name, rng):
    x, y = rng.standard_normal((2, 30, 7)).astype(dtype)
    weight = rng.uniform(0.5, 1, (30, 1)).astype(dtype)
    options = {"weight": weight}
    lazy = {"weight": da.from_array(weight, chunks=(11, 1))}
    if selects:
        options["where"] = rng.random(x.shape) < 0.5
        lazy["where"] = cut(rng, options["where"])
    a, b = cut(rng, x), cut(rng, y)
    grad = getattr(smoothl1, f"{name}_grad")
    both = getattr(smoothl1, f"{name}_value_and_grad")
    loss_of = getattr(smoothl1, f"{name}_loss")
    found = getattr(sd, f"{name}_grad")(a, b, reduction, 0.7, **lazy)
    assert found.shape == x.shape
    expected = grad(x, y, reduction, 0.7, **options)
    if reduction == "weighted_mean":  # by an exact sum of the weights
        np.testing.assert_allclose(found.compute(), expected, rtol=4 * np.finfo(dtype).eps)
    else:
        same(found, expected)
    loss, slopes = getattr(sd, f"{name}_value_and_grad")(a, b, reduction, 0.7, **lazy)
    same(slopes, found.compute())
    extra = {} if reduction == "none" else {"exact": True}
    same(loss, loss_of(x, y, reduction, 0.7, **options, **extra))
    if not selects and reduction != "weighted_mean":
        expected = both(x, y, reduction, 0.7, **options)[1]
        same(slopes, expected)


def test_chain_rule(rng):
    x = rng.standard_normal(20)
    a = da.from_array(x, chunks=6)
    same(sd.smooth_l1_grad(a, 0.0, grad_output=3.0), smoothl1.smooth_l1_grad(x, 0.0, grad_output=3))
    factor = rng.standard_normal(20)
    expected = smoothl1.smooth_l1_grad(x, 0.0, "none", grad_output=factor)
    same(sd.smooth_l1_grad(a, 0.0, "none", grad_output=da.from_array(factor, chunks=9)), expected)
    lazy = da.from_array(np.array(3.0))
    expected = smoothl1.smooth_l1_grad(x, 0.0, grad_output=3.0)
    same(sd.smooth_l1_grad(a, 0.0, grad_output=lazy), expected)
    with pytest.raises(ValueError, match=r"grad_output must be a scalar .* got shape \(20,\)"):
        sd.smooth_l1_grad(a, 0.0, grad_output=factor)


def test_thresholds_of_elements(dtype, rng):
    x, y = rng.standard_normal((2, 12, 5)).astype(dtype)
    beta = rng.uniform(0.1, 2, 5)
    a = da.from_array(x, chunks=(5, 2))
    for limit in (beta, da.from_array(beta, chunks=3)):
        for axis in (None, 0):
            expected = smoothl1.smooth_l1_loss(x, y, beta=beta, axis=axis, exact=True)
            same(sd.smooth_l1_loss(a, y, beta=limit, axis=axis), expected)
    lazy = abs(a).max()
    expected = smoothl1.smooth_l1_loss(x, y, beta=np.full(5, np.abs(x).max()), exact=True)
    same(sd.smooth_l1_loss(a, y, beta=lazy), expected)
    with pytest.raises(ValueError, match="beta must be a number where input has no axis"):
        sd.smooth_l1_loss(a[0, 0], 0.0, beta=lazy)
    with pytest.raises(ValueError, match="beta must be >= 0 everywhere, got -1"):
        sd.smooth_l1_loss(a, y, beta=da.full((5,), -1.0)).compute()


def test_keepdims(rng):
    x = rng.standard_normal((6, 5, 4))
    a = da.from_array(x, chunks=(2, 5, 3))
    for axis in (None, 0, 1, (0, 2), (1, 2)):
        lazy = sd.smooth_l1_loss(a, 0.0, axis=axis, keepdims=True)
        expected = smoothl1.smooth_l1_loss(x, 0.0, axis=axis, exact=True)
        same(lazy, np.reshape(expected, abs(x).sum(axis=axis, keepdims=True).shape))


def test_numbers_take_the_dtype_of_arrays(dtype, rng):
    x = rng.standard_normal(50).astype(dtype)
    a = da.from_array(x, chunks=7)
    same(sd.smooth_l1_loss(a, 0.3), smoothl1.smooth_l1_loss(x, 0.3, exact=True))
    same(sd.smooth_l1_loss(0.3, a), smoothl1.smooth_l1_loss(0.3, x, exact=True))
    same(sd.smooth_l1_loss(a[3], a), smoothl1.smooth_l1_loss(x[3], x, exact=True))
    half = x.astype(np.float16)
    same(sd.smooth_l1_loss(da.from_array(half, chunks=9), 0.0, "sum"),
         smoothl1.smooth_l1_loss(half, 0.0, "sum", exact=True))  # fmt: skip
    whole = np.arange(9)
    same(sd.smooth_l1_loss(da.from_array(whole, chunks=2), 1.5),
         smoothl1.smooth_l1_loss(whole, 1.5, exact=True))  # fmt: skip


def test_blocks_of_unknown_sizes(dtype, rng):
    x = rng.standard_normal((200, 3)).astype(dtype)
    y, weight = rng.standard_normal((2, 200)).astype(dtype)
    a, b, w = (da.from_array(v, chunks=(23, 3)[: v.ndim]) for v in (x, y, abs(weight)))
    rows = y > 0.5  # blocks without a row are among them
    lazy_rows = b > 0.5
    assert np.isnan(a[lazy_rows].shape[0])
    kept, left = x[rows], abs(weight)[rows]
    expected = smoothl1.smooth_l1_loss(kept, 2 * kept, exact=True)
    same(sd.smooth_l1_loss(a[lazy_rows], 2 * a[lazy_rows]), expected)
    expected = smoothl1.smooth_l1_loss(
        kept, 0.0, "weighted_mean", weight=left[:, None], axis=0, exact=True
    )
    found = sd.smooth_l1_loss(
        a[lazy_rows], 0.0, "weighted_mean", weight=w[lazy_rows][:, None], axis=0
    )
    same(found, expected)
    found = sd.smooth_l1_grad(a[lazy_rows], 0.0, beta=0.5).compute()
    assert found.tobytes() == smoothl1.smooth_l1_grad(kept, 0.0, beta=0.5).tobytes()
    narrow = np.array([1.0, 2.0, 3.0], dtype)
    same(sd.smooth_l1_loss(a[lazy_rows], 0.0, weight=narrow),
         smoothl1.smooth_l1_loss(kept, 0.0, weight=narrow, exact=True))  # fmt: skip
    with pytest.raises(ValueError, match=r"have \d+ and \d+ elements along axis 0"):
        sd.smooth_l1_loss(a[lazy_rows], a[b > 0.4]).compute()
    with pytest.raises(ValueError, match=r"target has 1 blocks along axis 0, where there are 9"):
        sd.smooth_l1_loss(a[lazy_rows], kept)


def test_nothing(dtype):
    empty = da.from_array(np.empty((0, 3), dtype), chunks=(1, 2))
    zero = smoothl1.smooth_l1_loss(np.empty((0, 3), dtype), 0.0, "sum", exact=True)
    same(sd.smooth_l1_loss(empty, 0.0, "sum"), zero)
    same(sd.smooth_l1_loss(empty, 0.0, "none"), np.empty((0, 3), dtype))
    same(sd.smooth_l1_grad(empty, 0.0), np.empty((0, 3), dtype))
    ones = da.ones((4, 3), chunks=2, dtype=dtype)
    for lazy in (
        sd.smooth_l1_loss(empty, 0.0),
        sd.smooth_l1_loss(ones, 0.0, where=np.zeros(3, bool)),
        sd.smooth_l1_path(empty, 0.0, [1.0])[0],
    ):
        with pytest.warns(RuntimeWarning, match="mean of no elements is nan"):
            assert np.isnan(lazy.compute())
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        sd.smooth_l1_loss(ones, 0.0, "weighted_mean", weight=da.zeros(3, chunks=1)).compute()
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        sd.smooth_l1_grad(ones, 0.0, "weighted_mean", weight=np.zeros(3)).compute()
    assert sd.smooth_l1_grad(ones, 0.0, where=np.zeros(3, bool)).compute().any() == False  # noqa: E712
    assert sd.smooth_l1_path(ones, 0.0, []).compute().shape == (0,)


def test_errors_come_at_once():
    a = da.ones((4, 3), chunks=2)
    for call, error, message in (
        (lambda: sd.smooth_l1_loss(a, a[:3]), ValueError, r"got \(4, 3\) and \(3, 3\)"),
        (lambda: sd.smooth_l1_loss(a, a[0]), ValueError, r"got \(4, 3\) and \(3,\)"),
        (lambda: sd.smooth_l1_loss(a, a, weight=np.ones(2)), ValueError, "weight must broadcast"),
        (lambda: sd.smooth_l1_loss(a, a, weight=np.ones((1, 4, 3))), ValueError, "must broadcast"),
        (lambda: sd.smooth_l1_loss(a, a, beta=-1.0), ValueError, "beta must be >= 0, got -1"),
        (lambda: sd.huber_loss(a, a, delta=0.0), ValueError, "delta must be > 0"),
        (lambda: sd.smooth_l1_loss(a, a, "average"), ValueError, "reduction must be one of"),
        (lambda: sd.smooth_l1_loss(a, a, 0.5), ValueError, "beta is the fourth argument"),
        (lambda: sd.smooth_l1_loss(a, a, "weighted_mean"), ValueError, "needs weight="),
        (lambda: sd.smooth_l1_loss(a, a, "none", axis=0), ValueError, "axis needs a reduction"),
        (lambda: sd.smooth_l1_loss(a, a, axis=2), np.exceptions.AxisError, "out of bounds"),
        (lambda: sd.smooth_l1_loss(a, a, n_threads=0), ValueError, "n_threads"),
        (lambda: sd.smooth_l1_loss(a.astype(complex), a), TypeError, "input has dtype complex"),
        (lambda: sd.smooth_l1_loss(a, a, where=a), TypeError, "where must be of dtype bool"),
        (lambda: sd.smooth_l1_path(a, a, [[1.0]]), ValueError, "betas must be 1-d"),
        (lambda: sd.loss_sums(a, a, -1.0), ValueError, "beta must be >= 0"),
        (lambda: sd.loss_sums(a, a, dtype="f4"), TypeError, "input has dtype float64"),
        (lambda: sd.nothing, AttributeError, "no attribute 'nothing'"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_block_of_another_dtype(rng):
    wrong = da.from_array(rng.standard_normal(9), chunks=4).map_blocks(
        lambda block: block, dtype=np.float32, meta=np.empty(0, np.float32)
    )
    for lazy in (
        sd.smooth_l1_loss(wrong, 0.0),
        sd.smooth_l1_loss(wrong, 0.0, "none"),
        sd.smooth_l1_grad(wrong, 0.0),
    ):
        with pytest.raises(TypeError, match="gives a loss of float64, the Dask arrays promise"):
            lazy.compute()


def test_plain_functions_name_the_module():
    with pytest.raises(TypeError, match=r"dask.*, which smoothl1.dask takes as it is; pass input"):
        smoothl1.smooth_l1_loss(da.ones(3), np.ones(3))


def test_sums(dtype, rng):
    x, y = rng.standard_normal((2, 40, 5)).astype(dtype)
    weight = rng.uniform(0, 1, 5).astype(dtype)
    a, b = cut(rng, x), cut(rng, y)
    lazy = sd.loss_sums(a, b, [0.5, 1.0], weight=weight, where=a > 0)
    assert hasattr(lazy, "dask")
    found = lazy.compute()
    one = LossSums([0.5, 1.0], dtype=dtype).update(x, y, weight=weight, where=x > 0)
    assert found == one
    assert found.to_bytes() == one.to_bytes()
    wide = sd.loss_sums(a, b, 0.5, huber=True, dtype=np.float64).compute()
    assert wide == LossSums(0.5, huber=True).update(x, y)
    assert wide.compute() == LossSums(0.5, huber=True).update(x, y).compute()


def test_graphs(rng):
    x = rng.standard_normal((20, 10))
    a = da.from_array(x, chunks=(2, 10), name="a")
    b = da.from_array(x, chunks=(2, 10), name="b")
    first, again = (sd.smooth_l1_loss(a, b, beta=0.5) for _ in range(2))
    assert first.name == again.name
    assert first.name != sd.smooth_l1_loss(a, b, beta=0.7).name
    assert pickle.loads(pickle.dumps(first)).compute() == first.compute()
    # Nothing is computed on the way, and no block is loaded for a dtype.
    loads = []
    c = a.map_blocks(lambda block: loads.append(block.shape) or block, dtype=float, meta=x[:0])
    lazies = [
        sd.smooth_l1_loss(c, b, axis=0),
        sd.smooth_l1_loss(c, b, "none"),
        *sd.smooth_l1_value_and_grad(c, b),
        sd.smooth_l1_path(c, b, [1.0, 2.0]),
        sd.loss_sums(c, b),
    ]
    assert loads == []
    lazies[0].compute()
    assert loads == [(2, 10)] * 10
    # What is reduced and lies in one block needs no integers.
    assert sd.smooth_l1_loss(a, b, axis=1).numblocks == (10,)
    same(sd.smooth_l1_loss(a, b + 1, axis=1), smoothl1.smooth_l1_loss(x, x + 1, axis=1, exact=True))


def test_threads_of_dask(rng):
    x, y = rng.standard_normal((2, 100_000))
    expected = smoothl1.smooth_l1_loss(x, y, beta=0.3, exact=True)
    for n_threads in (1, 2, None):
        lazy = sd.smooth_l1_loss(
            da.from_array(x, chunks=7000), da.from_array(y, chunks=9000), beta=0.3,
            n_threads=n_threads,
        )  # fmt: skip
        for _ in range(3):
            assert lazy.compute(scheduler="threads") == expected


SCRIPT = """
    import numpy as np
    import smoothl1
    import smoothl1.dask as sd
    {imports}
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50, 8))
    mask = x > -1
    a = da.from_array(x, chunks=(13, 3))
    b = da.from_array(y, chunks=(20, 8))
    def same(lazy, expected):
        found = np.asarray(lazy.compute())
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes(), (found, expected)
    for axis in (None, 0, 1):
        for how in ("mean", "sum", "weighted_mean"):
            options = dict(axis=axis, weight=abs(x[0]))
            same(sd.smooth_l1_loss(a, b, how, 0.3, where=a > -1, **options),
                 smoothl1.smooth_l1_loss(x, y, how, 0.3, where=mask, exact=True, **options))
    same(sd.huber_loss(a, b, "none"), smoothl1.huber_loss(x, y, "none"))
    same(sd.huber_grad(a, b, where=a > -1), smoothl1.huber_grad(x, y, where=mask))
    same(sd.smooth_l1_path(a, b, [0.1, 1.0]), smoothl1.smooth_l1_path(x, y, [0.1, 1.0], exact=True))
    loss, grad = sd.smooth_l1_value_and_grad(a, b)
    same(loss, smoothl1.smooth_l1_loss(x, y, exact=True))
    same(grad, smoothl1.smooth_l1_grad(x, y))
    assert sd.loss_sums(a, b).compute() == smoothl1.LossSums().update(x, y)
    flat = da.from_array(x.ravel(), chunks=70)
    some = flat[flat > -1]
    assert np.isnan(some.shape[0])
    same(sd.smooth_l1_loss(some, 2 * some), smoothl1.smooth_l1_loss(
        x[mask], 2 * x[mask], exact=True))
    print(type(a).__module__)
"""


@pytest.mark.parametrize(
    ("imports", "module"),
    [
        ("import dask; dask.config.set({'array.query-planning': True}); import dask.array as da",
         "dask.array._array_expr"),
        ("import dask_array as da", "dask_array"),
    ],
)  # fmt: skip
def test_other_kinds_of_arrays(imports, module):
    if "dask_array" in imports:
        pytest.importorskip("dask_array")
    script = textwrap.dedent(SCRIPT).format(imports=imports)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(module)
