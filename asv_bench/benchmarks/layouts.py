"""Arrays that are not plain: strided, broadcast, mixed, swapped, transposed."""

import numpy as np

from .common import arrays, function


def bfloat16():
    """Return the dtype; without ml_dtypes the benchmark is n/a."""
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        raise NotImplementedError from None
    return bfloat16


def make(layout, n):
    """Return input and target with n elements each, float32 unless the layout says other."""
    x, y = arrays(n, "float32")
    if layout == "column":
        return [np.stack([a, a], axis=1)[:, 0] for a in (x, y)]
    if layout == "float32 and float64":
        return x, y.astype(np.float64)
    if layout == "int32":
        return [(8 * a).astype(np.int32) for a in (x, y)]
    if layout == "float16":
        return [a.astype(np.float16) for a in (x, y)]
    if layout == "bfloat16":
        dtype = bfloat16()
        return [a.astype(dtype) for a in (x, y)]
    if layout == "swapped":
        return [a.astype(">f4") for a in (x, y)]
    x, y = x.reshape(-1, 4), y.reshape(-1, 4)
    if layout == "fortran (n, 4)":
        return np.asfortranarray(x), np.asfortranarray(y)
    if layout == "broadcast row":
        return x.reshape(-1, 1024), np.broadcast_to(y.ravel()[:1024], (n // 1024, 1024))
    return x, y


LAYOUTS = {
    "contiguous": {},
    "column": {},
    "float32 and float64": {},
    "int32": {},
    "float16": {},
    "bfloat16": {},
    "swapped": {},
    "fortran (n, 4)": {},
    "broadcast row": {},
    "axis 0 of (n, 4)": {"axis": 0},
    "axis 1 of (n, 4)": {"axis": 1},
}


class Layouts:
    """Time of a mean over an array that must be packed, or over one axis."""

    params = [list(LAYOUTS), [2**16, 2**22]]
    param_names = ["layout", "n"]

    def setup(self, layout, n):
        self.function = function("smooth_l1_loss")
        self.input, self.target = make(layout, n)

    def time_mean(self, layout, n):
        """Seconds of a mean of float32 arrays in a layout."""
        self.function(self.input, self.target, **LAYOUTS[layout])


class Walk:
    """NumPy's iterator packing two Fortran-ordered (n, 4) arrays in C order, as a control."""

    params = [[2**16, 2**22]]
    param_names = ["n"]

    def setup(self, n):
        self.arrays = make("fortran (n, 4)", n)

    def time_nditer(self, n):
        """Seconds in which NumPy's iterator packs two arrays, the control of the layouts."""
        flags = ["buffered", "external_loop"]
        each = [["readonly", "contig"]] * 2
        for _ in np.nditer(self.arrays, flags, each, order="C", buffersize=4096):
            pass
