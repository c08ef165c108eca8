"""Where a mean takes longest: layouts, dtypes, options and axes, one with another.

    python asv_bench/cliffs.py [--elements 1048576] [--worst 20]

Nanoseconds an element on one thread, the shortest of several calls in turn, and the ratio to the
contiguous mean of the working dtype. The worst come first, so that no cliff hides.
"""

import argparse

import numpy as np

try:
    import ml_dtypes  # registers the dtype
except ImportError:
    ml_dtypes = None
from report import processor, turns

from smoothl1 import smooth_l1_loss
from smoothl1._simd import chosen

BETA = 0.7
BFLOAT16 = ("bfloat16",) if ml_dtypes else ()


def unaligned(a):
    buffer = np.empty(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype)
    view[...] = a.ravel()
    return view.reshape(a.shape)


LAYOUTS = {
    "contiguous": lambda a: a,
    "Fortran": np.asfortranarray,
    "column of two": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "unaligned": unaligned,
    "broadcast row": lambda a: np.broadcast_to(a[:1], a.shape),
}
DTYPES = ("f4", "f8", "f2", *BFLOAT16, ">f4", ">f8", "i4", "u1")
COLUMNS = (1, 2, 3, 4, 10, 64, 1000)
OPTIONS = ("none", "weight", "weight a row", "where", "array beta")
AXES = (None, 0, 1)


def cases(n):
    """Yield (description, dtype of the result, call)."""
    rng = np.random.default_rng(0)
    for columns in COLUMNS:
        shape = (n // columns, columns)
        x, y = rng.standard_normal((2, *shape))
        w = rng.uniform(0.5, 1.5, shape)
        mask = w > 0.6
        for dtype in DTYPES:
            u, v = ((20 * np.abs(a) if dtype in ("i4", "u1") else a).astype(dtype) for a in (x, y))
            weight = w.astype("f8" if u.dtype.itemsize == 8 else "f4")
            for layout, change in LAYOUTS.items():
                if layout != "contiguous" and dtype not in ("f4", "f8"):
                    continue
                one, two = change(u), change(v)
                for option in OPTIONS:
                    keywords = {
                        "none": {},
                        "weight": {"weight": weight},
                        "weight a row": {"weight": weight[:, :1]},
                        "where": {"where": mask},
                        "array beta": {"beta": weight},
                    }[option]
                    for axis in AXES:
                        yield (
                            f"{dtype}, (n, {columns}), {layout}, {option}, axis={axis}",
                            "f8" if u.dtype.itemsize == 8 or u.dtype.kind in "iu" else "f4",
                            lambda one=one, two=two, keywords=keywords, axis=axis: smooth_l1_loss(
                                one, two, axis=axis, n_threads=1, **{"beta": BETA, **keywords}
                            ),
                        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=2**20)
    parser.add_argument("--worst", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    n = options.elements
    plain = {}
    for dtype in ("f4", "f8"):
        x, y = np.random.default_rng(1).standard_normal((2, n)).astype(dtype)
        call = lambda x=x, y=y: smooth_l1_loss(x, y, beta=BETA, n_threads=1)  # noqa: E731
        plain[dtype] = turns([call], 20)[0]
    found = []
    for name, dtype, call in cases(n):
        with np.errstate(all="ignore"):
            seconds = turns([call], options.repeats)[0]
        found.append((seconds / plain[dtype], name, dtype, call))
    # What looks slow is timed again, for another process may have had the processor meanwhile.
    found.sort(key=lambda case: -case[0])
    worst = []
    for ratio, name, dtype, call in found[: 3 * options.worst]:
        again = turns([call], 3 * options.repeats)[0] / plain[dtype]
        ratio = min(ratio, again)
        worst.append((ratio, 1e9 * ratio * plain[dtype] / n, name))
    worst.sort(reverse=True)
    print(f"{processor()}, {chosen}; {len(found)} cases of {n} elements\n")
    print("| ratio | ns | case |\n| --- | --- | --- |")
    for ratio, time, name in worst[: options.worst]:
        print(f"| {ratio:.1f} | {time:.2f} | {name} |")


if __name__ == "__main__":
    main()
