"""Smooth L1 and Huber loss, their reductions and gradients, on NumPy arrays."""

from smoothl1._config import get_num_threads, show_config
from smoothl1._threads import num_threads, set_num_threads
from smoothl1._version import __version__
from smoothl1.functional import (
    huber_grad,
    huber_loss,
    huber_value_and_grad,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)
from smoothl1.grouped import GroupedLossSums
from smoothl1.location import huber_location
from smoothl1.modules import HuberLoss, SmoothL1Loss
from smoothl1.sums import LossSums

__all__ = [
    "GroupedLossSums",
    "HuberLoss",
    "LossSums",
    "SmoothL1Loss",
    "__version__",
    "get_num_threads",
    "huber_grad",
    "huber_location",
    "huber_loss",
    "huber_value_and_grad",
    "num_threads",
    "set_num_threads",
    "show_config",
    "smooth_l1_grad",
    "smooth_l1_grad_hess",
    "smooth_l1_loss",
    "smooth_l1_path",
    "smooth_l1_value_and_grad",
]
