"""What users would pick instead; those that are not installed are n/a."""

from functools import partial

import numpy as np

import smoothl1

from . import probe
from .common import DTYPES, arrays

OPERATIONS = ["mean", "none", "value and gradient"]
SIZES = [10, 10**3, 10**4, 10**5, 10**6, 10**7]


def ours(x, y):
    calls = {
        "mean": ("smooth_l1_loss", {}),
        "none": ("smooth_l1_loss", {"reduction": "none"}),
        "value and gradient": ("smooth_l1_value_and_grad", {}),
    }
    return {
        operation: partial(getattr(smoothl1, name), x, y, **options)
        for operation, (name, options) in calls.items()
        if hasattr(smoothl1, name)
    }


def numpy(x, y):
    def none():
        z = np.abs(x - y)
        return np.where(z < 1, 0.5 * z * z, z - 0.5)

    def both():
        d = x - y
        z = np.abs(d)
        return np.mean(np.where(z < 1, 0.5 * z * z, z - 0.5)), np.clip(d, -1, 1) / d.size

    return {"mean": lambda: np.mean(none()), "none": none, "value and gradient": both}


def torch(x, y, beta=1.0):
    import torch

    torch.set_num_threads(smoothl1.get_num_threads())
    u, v = torch.from_numpy(x), torch.from_numpy(y)
    w = u.clone().requires_grad_()
    loss = partial(torch.nn.functional.smooth_l1_loss, beta=beta)

    def both():
        w.grad = None
        value = loss(w, v)
        value.backward()
        return value, w.grad

    return {
        "mean": lambda: loss(u, v),
        "none": lambda: loss(u, v, reduction="none"),
        "value and gradient": both,
    }


def numba(x, y, beta=1.0):
    import numba

    numba.set_num_threads(min(smoothl1.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    compiled = numba.njit(parallel=True, fastmath=True)
    threshold = x.dtype.type(beta)
    inner, slope = x.dtype.type(0.5 / beta), x.dtype.type(1 / beta)
    offset = x.dtype.type(beta / 2)

    @compiled
    def mean(x, y):
        total = x.dtype.type(0)
        for i in numba.prange(x.size):
            z = abs(x[i] - y[i])
            total += inner * z * z if z < threshold else z - offset
        return total / x.size

    @compiled
    def none(x, y):
        out = np.empty_like(x)
        for i in numba.prange(x.size):
            z = abs(x[i] - y[i])
            out[i] = inner * z * z if z < threshold else z - offset
        return out

    @compiled
    def both(x, y):
        grad = np.empty_like(x)
        total = x.dtype.type(0)
        scale = x.dtype.type(1) / x.dtype.type(x.size)
        for i in numba.prange(x.size):
            d = x[i] - y[i]
            z = abs(d)
            total += inner * z * z if z < threshold else z - offset
            grad[i] = scale * slope * min(max(d, -threshold), threshold)
        return total * scale, grad

    calls = {"mean": mean, "none": none, "value and gradient": both}
    return {operation: partial(call, x, y) for operation, call in calls.items()}


def numexpr(x, y):
    import numexpr

    numexpr.set_num_threads(smoothl1.get_num_threads())
    text = "where(abs(x - y) < 1, 0.5 * (x - y) * (x - y), abs(x - y) - 0.5)"
    names = {"x": x, "y": y}
    return {
        "mean": lambda: numexpr.evaluate(f"sum({text})", names) / x.size,
        "none": lambda: numexpr.evaluate(text, names),
    }


def scipy(x, y):
    import scipy.special

    def none():
        return scipy.special.huber(1.0, x - y)

    return {"mean": lambda: np.mean(none()), "none": none}


def sklearn(x, y):
    from sklearn._loss.loss import HuberLoss

    loss = HuberLoss(delta=1.0)
    threads = smoothl1.get_num_threads()

    def both():
        value, grad = loss.loss_gradient(y, x, n_threads=threads)
        return np.mean(value), grad / grad.size

    return {
        "mean": lambda: np.mean(loss.loss(y, x, n_threads=threads)),
        "none": lambda: loss.loss(y, x, n_threads=threads),
        "value and gradient": both,
    }


def jax(x, y):
    import jax

    jax.config.update("jax_enable_x64", True)

    def none(x, y):
        z = abs(x - y)
        return jax.numpy.where(z < 1, 0.5 * z * z, z - 0.5)

    def mean(x, y):
        return jax.numpy.mean(none(x, y))

    u, v = jax.numpy.asarray(x), jax.numpy.asarray(y)
    functions = {"mean": mean, "none": none, "value and gradient": jax.value_and_grad(mean)}
    compiled = {operation: jax.jit(function) for operation, function in functions.items()}
    return {
        operation: lambda call=call: jax.block_until_ready(call(u, v))
        for operation, call in compiled.items()
    }


PEERS = {make.__name__: make for make in (ours, torch, numba, numpy, numexpr, scipy, sklearn, jax)}


def prepare(peer, x, y, operation="mean", **options):
    """Return a call, compiled where it is; n/a where the peer or its operation is missing.

    PyTorch and numba take a ``beta``.
    """
    try:
        calls = PEERS[peer](x, y, **options)
    except ImportError as error:
        raise NotImplementedError(f"{peer} is not installed") from error
    if operation not in calls:
        raise NotImplementedError(f"{peer} has no {operation}")
    calls[operation]()
    return calls[operation]


class Peers:
    """Time of a call at beta 1, results fresh, by implementation."""

    params = [list(PEERS), OPERATIONS, SIZES, DTYPES]
    param_names = ["implementation", "operation", "n", "dtype"]

    def setup(self, peer, operation, n, dtype):
        self.call = prepare(peer, *arrays(n, dtype), operation)

    def time_call(self, peer, operation, n, dtype):
        """Seconds of a call at beta 1 with an implementation."""
        self.call()


class Limit:
    """Time of a bare loop that moves the same bytes, on one thread or all, whichever is less."""

    params = [OPERATIONS, SIZES, DTYPES]
    param_names = ["operation", "n", "dtype"]

    def setup(self, operation, n, dtype):
        probe.library()
        self.arrays = arrays(n, dtype, 2 if operation == "mean" else 3)

    def track_seconds(self, operation, n, dtype):
        """Seconds of a loop that moves the bytes of an operation."""
        loop = probe.read if operation == "mean" else probe.read_and_write
        inner = max(1, 2**18 // n)
        return min(loop(*self.arrays, k, 20, inner) for k in {1, smoothl1.get_num_threads()})

    track_seconds.unit = "seconds"
