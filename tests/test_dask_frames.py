"""Losses of Dask DataFrames and of xarray's arrays: partitions and chunks decide nothing."""

import numpy as np
import pytest

import smoothl1
import smoothl1.dask as sd
from smoothl1 import GroupedLossSums, LossSums

dd = pytest.importorskip("dask.dataframe")
dask = pytest.importorskip("dask")
pd = pytest.importorskip("pandas")

N = 1200


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def frame(rng):
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 3, N), "D")
    found = pd.DataFrame(
        {
            "p": rng.standard_normal(N),
            "t": rng.standard_normal(N),
            "w": rng.uniform(0, 1, N),
            "text": rng.choice(["a", "b", None, "zz"], N),
            "number": rng.integers(0, 3, N),
            "kind": pd.Categorical(rng.choice(["x", "y"], N)),
            "day": days,
            "real": rng.choice([0.0, -0.0, np.nan, 1.5], N),
        }
    )
    found.loc[::17, "t"] = np.nan
    return found


def evaluate(frame, partitions, **options):
    lazy = sd.evaluate(
        dd.from_pandas(frame, npartitions=partitions), prediction="p", target="t", **options
    )
    found = lazy.compute()
    assert list(found.columns) == list(lazy._meta.columns)
    assert lazy.npartitions == 1
    return found


BY = ["text", ["text", "number"], ["kind"], ["day", "kind"], "real", None]


@pytest.mark.parametrize("by", BY, ids=str)
@pytest.mark.parametrize("weight", [None, "w"])
def test_partitions_decide_nothing(frame, by, weight):
    one, *others = (
        evaluate(frame, n, by=by, weight=weight, beta=[0.5, 1.0], split_every=3) for n in (1, 4, 11)
    )
    for other in others:
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    shuffled = frame.sample(frac=1, random_state=0)
    other = evaluate(shuffled.reset_index(drop=True), 5, by=by, weight=weight, beta=[0.5, 1.0])
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    # Group by group the figures of the rows themselves.
    keys = [] if by is None else [by] if isinstance(by, str) else by
    for _, row in one.iterrows():
        rows = np.ones(N, bool)
        for key in keys:
            rows &= frame[key].isna() if pd.isna(row[key]) else frame[key] == row[key]
        there = rows & frame["t"].notna()
        sums = LossSums([0.5, 1.0])
        some = frame[there]
        sums.update(some["p"], some["t"], weight=None if weight is None else some["w"])
        assert row["rows"] == sums.n
        assert row["dropped"] == rows.sum() - there.sum()
        losses = sums.compute("mean" if weight is None else "weighted_mean")
        assert (row["mae"], row["rmse"]) == (sums.mae, sums.rmse)
        assert (row["loss_0.5"], row["loss_1"]) == tuple(losses)
        assert row["quadratic_share_1"] == sums.quadratic_share[1]


def test_dtypes(frame):
    small = frame.astype({"p": np.float32, "t": np.float32})
    found = evaluate(small, 3, beta=0.5)
    assert found["loss"].dtype == np.float32
    some = small[small["t"].notna()]
    expected = LossSums(0.5, dtype=np.float32).update(some["p"], some["t"])
    assert found["loss"][0] == expected.compute()
    assert evaluate(small, 3, beta=0.5, dtype=np.float64)["loss"].dtype == np.float64
    assert evaluate(small, 3, weight="w")["loss"].dtype == np.float64
    with pytest.raises(TypeError, match=r"float32 would round .* prediction float64"):
        evaluate(frame, 1, dtype=np.float32)
    whole = frame.fillna({"t": 0}).astype({"p": int})
    assert evaluate(whole, 2)["mae"][0] == LossSums().update(whole["p"], whole["t"]).mae


def test_arrow_has_nulls_beside_nan(frame):
    pa = pytest.importorskip("pyarrow")
    kind = pd.ArrowDtype(pa.float64())
    t = pa.array([None if i % 17 == 0 else float(i) for i in range(N)])
    arrow = frame.assign(t=pd.Series(pd.arrays.ArrowExtensionArray(t)), p=frame["p"].astype(kind))
    found = evaluate(arrow, 4, huber=True, reduction="sum")
    assert found["dropped"][0] == len(range(0, N, 17))
    there = np.arange(N) % 17 != 0
    sums = LossSums(huber=True).update(frame["p"][there], np.arange(N)[there])
    assert found["loss"][0] == sums.compute("sum")


def test_rows_are_chosen(frame):
    found = evaluate(frame, 5, by="kind", where="number > 0 and text in ('a', 'b')")
    kept = frame[(frame["number"] > 0) & frame["text"].isin(["a", "b"])]
    pd.testing.assert_frame_equal(found, evaluate(kept, 2, by="kind"), check_exact=True)
    again = evaluate(
        frame, 3, by="kind", where=lambda part: (part.number > 0) & part.text.isin(["a", "b"])
    )
    pd.testing.assert_frame_equal(found, again, check_exact=True)
    nothing = evaluate(frame, 3, where="number > 5")
    assert nothing["rows"].tolist() == [0]
    assert np.isnan(nothing["loss"][0])
    assert len(evaluate(frame, 3, by="kind", where="number > 5")) == 0
    gone = evaluate(frame.assign(t=np.nan), 3, by="kind")
    assert gone["rows"].tolist() == [0, 0]
    assert gone["dropped"].sum() == N
    with pytest.raises(TypeError, match="where must give a bool for each row"):
        evaluate(frame, 2, where=lambda part: part.number)


def test_tables_pass_frames_on(frame):
    tables = pytest.importorskip("smoothl1.tables")
    options = {"prediction": "p", "target": "t", "by": "kind", "where": "number > 0"}
    lazy = tables.evaluate(dd.from_pandas(frame, npartitions=3), **options)
    found = lazy.compute()
    table = tables.evaluate(frame, **options).to_pandas()[1:].reset_index(drop=True)
    assert found["kind"].tolist() == table["kind"].tolist()
    for name in ("rows", "dropped", "mae", "rmse", "loss", "quadratic_share"):
        assert found[name].tolist() == table[name].tolist()


def test_errors(frame):
    lazy = dd.from_pandas(frame, npartitions=2)
    names = {"prediction": "p", "target": "t"}
    for options, error, message in (
        ({"weight": "nothing"}, ValueError, "weight must be a column of the frame"),
        ({"by": ["text", "text"]}, ValueError, "by must hold each column once"),
        ({"by": "nothing"}, ValueError, "by must be a column of the frame"),
        ({"nulls": "keep"}, ValueError, "nulls must be 'drop' or 'error'"),
        ({"where": 3}, TypeError, "where must be a str or a function"),
        ({"where": "nothing > 3"}, ValueError, "where names 'nothing'"),
        ({"where": "p >"}, ValueError, "invalid syntax"),
        ({"target": "text"}, TypeError, "target must be a column of numbers, but 'text'"),
        ({"beta": -1}, ValueError, "beta must be >= 0"),
        ({"reduction": "median"}, ValueError, "reduction must be one of"),
        ({"reduction": "weighted_mean"}, ValueError, "needs weight="),
        ({"n_threads": 0}, ValueError, "n_threads"),
    ):
        with pytest.raises(error, match=message):
            sd.evaluate(lazy, **{**names, **options})
    with pytest.raises(TypeError, match="frame must be a Dask DataFrame, got DataFrame"):
        sd.evaluate(frame, **names)
    with pytest.raises(ValueError, match="column 't' has nulls"):
        sd.evaluate(lazy, **names, nulls="error").compute()


def test_rows_of_groups(dtype, rng):
    x, y = rng.standard_normal((2, 3000)).astype(dtype)
    x[:3] = np.nan, np.inf, -np.inf
    by, weight = rng.integers(0, 40, 3000), rng.uniform(0, 1, 3000).astype(dtype)
    whole = GroupedLossSums([0.5, 1], dtype=dtype).update(x, y, by, weight=weight)
    parts = [
        GroupedLossSums([0.5, 1], dtype=dtype).update(
            x[i::7], y[i::7], by[i::7], weight=weight[i::7]
        )
        for i in range(7)
    ]
    rows = np.concatenate([part.to_array() for part in parts])
    keys = np.concatenate([np.array(part.groups()) for part in parts])
    found = GroupedLossSums.from_array(rows, keys, whole)
    assert found.to_bytes() == whole.to_bytes()
    one = LossSums.from_array(whole.to_array()[3], LossSums([0.5, 1], dtype=dtype))
    assert one == whole.group(whole.groups()[3])
    objects = rows.astype(object)
    assert GroupedLossSums.from_array(objects, keys, whole).to_bytes() == whole.to_bytes()
    empty = GroupedLossSums([0.5, 1], dtype=dtype)
    assert empty.to_array().shape == (0, rows.shape[1])
    for bad, error, message in (
        (rows[:, 1:], ValueError, "rows must have shape"),
        (rows.astype(float), TypeError, "rows must hold integers"),
        (objects + 0.5, TypeError, "rows must hold integers, got dtype object"),
        (objects + 2**70, ValueError, "beyond what any data give"),
        (rows + 2**62, ValueError, "beyond what any data give"),
    ):
        with pytest.raises(error, match=message):
            GroupedLossSums.from_array(bad, keys, whole)
    # Each within the range, and their sum not.
    halves = np.zeros((4, rows.shape[1]), np.int64)
    halves[:, 0], halves[:, 3] = 1, 2**61
    with pytest.raises(ValueError, match="beyond what any data give"):
        GroupedLossSums.from_array(halves, ["a"] * 4, whole)
    with pytest.raises(TypeError, match="like must be a GroupedLossSums"):
        GroupedLossSums.from_array(rows, keys, LossSums())


def test_xarray(dtype, rng):
    xarray = pytest.importorskip("xarray")
    x, y = rng.standard_normal((2, 20, 6, 5)).astype(dtype)
    weight = rng.uniform(0, 1, 6).astype(dtype)
    coords = {"time": np.arange(20), "lat": np.linspace(0, 1, 6)}
    dims = ("time", "lat", "lon")
    prediction = xarray.DataArray(x, dims=dims, coords=coords)
    target = xarray.DataArray(y, dims=dims, coords=coords).transpose("lon", "time", "lat")
    weights = xarray.DataArray(weight, dims="lat", coords={"lat": coords["lat"]})
    for dim in (None, "time", ("time", "lon")):
        axes = None if dim is None else (0,) if dim == "time" else (0, 2)
        for beta in (0.5, [0.5, 1.0]):
            whole = sd.evaluate_xarray(prediction, target, dim, beta=beta, weight=weights)
            lazy = sd.evaluate_xarray(
                prediction.chunk(time=7, lat=2), target.chunk(lon=2), dim, beta=beta, weight=weights
            )
            assert lazy["loss"].chunks is not None
            assert whole.identical(lazy.compute())
            expected = smoothl1.smooth_l1_loss(
                x, y, "weighted_mean", 0.5, weight=weight[:, None], axis=axes, exact=True
            )
            loss = whole["loss"] if beta == 0.5 else whole["loss"].sel(beta=0.5)
            assert loss.values.dtype == dtype
            assert loss.values.tobytes() == np.asarray(expected).tobytes()
            assert (whole["rows"] == x.size // max(1, whole["rows"].size)).all()
    some = sd.evaluate_xarray(prediction, target, "lon", where=prediction > 5)
    assert np.isnan(some["loss"]).all()
    for call, error, message in (
        (lambda: sd.evaluate_xarray(x, target), TypeError, "prediction must be an xarray"),
        (lambda: sd.evaluate_xarray(prediction, target[0]), ValueError, "the same dimensions"),
        (lambda: sd.evaluate_xarray(prediction, target, "place"), ValueError, "dim must be among"),
        (lambda: sd.evaluate_xarray(prediction, target.isel(time=slice(5))), ValueError, "time"),
        (
            lambda: sd.evaluate_xarray(
                prediction, target, weight=weights.rename(lat="x").drop_vars("x")
            ),
            ValueError,
            "weight must have no dimensions but",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
