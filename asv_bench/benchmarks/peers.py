"""What users would pick instead; those that are not installed are n/a."""

import numpy as np

import smoothl1

from .common import arrays


def ours(x, y):
    return lambda: smoothl1.smooth_l1_loss(x, y)


def numpy(x, y):
    def call():
        z = np.abs(x - y)
        return np.mean(np.where(z < 1, 0.5 * z * z, z - 0.5))

    return call


def torch(x, y):
    import torch

    torch.set_num_threads(smoothl1.get_num_threads())
    u, v = torch.from_numpy(x), torch.from_numpy(y)
    return lambda: torch.nn.functional.smooth_l1_loss(u, v)


def numba(x, y):
    import numba

    numba.set_num_threads(min(smoothl1.get_num_threads(), numba.config.NUMBA_NUM_THREADS))

    @numba.njit(parallel=True, fastmath=True)
    def mean(x, y):
        total = x.dtype.type(0)
        half, one = x.dtype.type(0.5), x.dtype.type(1)
        for i in numba.prange(x.size):
            z = abs(x[i] - y[i])
            total += half * z * z if z < one else z - half
        return total / x.size

    mean(x, y)
    return lambda: mean(x, y)


def numexpr(x, y):
    import numexpr

    numexpr.set_num_threads(smoothl1.get_num_threads())
    text = "sum(where(abs(x - y) < 1, 0.5 * (x - y) * (x - y), abs(x - y) - 0.5))"
    return lambda: numexpr.evaluate(text, {"x": x, "y": y}) / x.size


def scipy(x, y):
    import scipy.special

    return lambda: np.mean(scipy.special.huber(1.0, x - y))


def sklearn(x, y):
    from sklearn._loss.loss import HuberLoss

    loss = HuberLoss(delta=1.0)
    threads = smoothl1.get_num_threads()
    return lambda: np.mean(loss.loss(y, x, n_threads=threads))


def jax(x, y):
    import jax

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def mean(x, y):
        z = abs(x - y)
        return jax.numpy.mean(jax.numpy.where(z < 1, 0.5 * z * z, z - 0.5))

    u, v = jax.numpy.asarray(x), jax.numpy.asarray(y)
    return lambda: mean(u, v).block_until_ready()


PEERS = {make.__name__: make for make in (ours, torch, numba, numpy, numexpr, scipy, sklearn, jax)}


def prepare(peer, x, y):
    """Return a call that computes the mean; n/a where the peer is not installed."""
    try:
        return PEERS[peer](x, y)
    except ImportError as error:
        raise NotImplementedError(f"{peer} is not installed") from error


class Peers:
    """Time of the mean loss at beta 1 by implementation."""

    params = [list(PEERS), [10, 10**4, 10**6, 10**7], ["float32"]]
    param_names = ["implementation", "n", "dtype"]

    def setup(self, peer, n, dtype):
        self.call = prepare(peer, *arrays(n, dtype))

    def time_mean(self, peer, n, dtype):
        """Seconds of the mean loss at beta 1 with an implementation."""
        self.call()
