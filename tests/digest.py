"""Print one hash of many results: run in a process per instruction set, and compared.

``SMOOTHL1_SIMD`` is read at import, hence a process each. The inputs are made by exact operations,
so that the hash can be compared between machines, compilers and versions of NumPy, too.
"""

import hashlib

import numpy as np

import smoothl1


def results():
    rng = np.random.default_rng(7)
    for dtype in (np.float32, np.float64):
        tiny = np.finfo(dtype).smallest_subnormal
        for n in (1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 100, 1000, 4095, 4096, 4097, 50001):
            scale = np.ldexp(1.0, rng.integers(-10, 10, n))
            x, y = ((4 * rng.random((2, n)) - 2) * scale).astype(dtype)
            specials = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, np.finfo(dtype).max]
            w, b = 2 * rng.random((2, n))
            b[::5] = 0
            for special in (False, True):
                if special:
                    x = x.copy()
                    x[: min(n, 7)] = specials[: min(n, 7)]
                thresholds = (
                    0.0,
                    float(tiny),
                    3 * float(tiny),
                    1e-3,
                    0.37,
                    1.0,
                    1.35,
                    2.0,
                    1e30,
                    np.inf,
                    b,
                )
                for beta in thresholds:
                    for reduction in ("none", "mean", "sum"):
                        yield smoothl1.smooth_l1_loss(x, y, reduction, beta)
                        yield smoothl1.smooth_l1_loss(
                            x, y, reduction, beta, weight=w, where=w > 0.3
                        )
                        yield from smoothl1.smooth_l1_value_and_grad(x, y, reduction, beta)
                        if np.min(beta) > 0:
                            yield smoothl1.huber_loss(x, y, reduction, beta)
                            yield smoothl1.huber_grad(x, y, reduction, beta, weight=w)
                    yield from smoothl1.smooth_l1_grad_hess(x, y, beta, weight=w)
                    yield smoothl1.smooth_l1_grad_hess(x, y, beta, hessian="majorizer")[1]
                    yield smoothl1.smooth_l1_loss(x[::-1], y[::-1], "mean", beta)
                    yield smoothl1.smooth_l1_loss(x, y.astype(np.float16), "none", beta)
                    if isinstance(beta, float):
                        yield smoothl1.huber_location(y, beta)
                        yield smoothl1.huber_location(y, beta, sample_weight=w)
        x, y = (4 * rng.random((2, 300, 5)) - 2).astype(dtype)
        for axis in (0, 1):
            yield smoothl1.smooth_l1_loss(x, y, "mean", 0.37, axis=axis)
            yield smoothl1.smooth_l1_loss(np.asfortranarray(x), y, "sum", 1.0, axis=axis)


def digest():
    total = hashlib.sha256()
    for result in results():
        a = np.atleast_1d(result)
        # The sign of a NaN is not a value.
        a = np.where(np.isnan(a), np.nan, a).astype(a.dtype.newbyteorder("<"))
        total.update(a.tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    print(smoothl1.show_config("dicts")["simd"]["chosen"], digest())
