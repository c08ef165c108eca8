"""PyTorch's tensors, forward and backward; n/a where PyTorch is not installed."""

import importlib

import smoothl1

from .common import DTYPES, arrays


def loss(module, name):
    """Return a loss of ours or theirs; n/a on a commit that lacks it, or without PyTorch."""
    try:
        import torch

        torch.set_num_threads(smoothl1.get_num_threads())
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise NotImplementedError(str(error)) from error


def tensors(n, dtype):
    """Return input, which requires a gradient, and target."""
    import torch

    x, y = map(torch.from_numpy, arrays(n, dtype))
    return x.requires_grad_(), y


def step(loss, x, y, reduction="mean"):
    """Run forward and backward."""
    x.grad = None
    result = loss(x, y, reduction=reduction)
    (result.sum() if reduction == "none" else result).backward()


class Tensors:
    """Time of a forward and a backward pass at threshold 1."""

    params = [
        ["smoothl1.torch", "torch.nn.functional"],
        ["smooth_l1_loss", "huber_loss"],
        ["mean", "none"],
        [10, 10**3, 10**5, 10**6, 10**7],
        DTYPES,
    ]
    param_names = ["module", "function", "reduction", "n", "dtype"]

    def setup(self, module, name, reduction, n, dtype):
        self.loss = loss(module, name)
        self.input, self.target = tensors(n, dtype)

    def time_step(self, module, name, reduction, n, dtype):
        """Seconds of a forward and a backward pass."""
        step(self.loss, self.input, self.target, reduction)


class PeakMemory:
    """Peak memory of a process that runs forward and backward; "control" makes the tensors only."""

    params = [["control", "smoothl1.torch", "torch.nn.functional"], ["mean", "none"]]
    param_names = ["module", "reduction"]

    def setup(self, module, reduction):
        self.loss = loss("smoothl1.torch" if module == "control" else module, "smooth_l1_loss")
        self.input, self.target = tensors(2**24, "float32")

    def peakmem_step(self, module, reduction):
        """Bytes that a process needs at most for a forward and a backward pass."""
        if module != "control":
            step(self.loss, self.input, self.target, reduction)
