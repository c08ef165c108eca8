"""smoothl1/_smoothl1.pxd: a package outside cimports it, is compiled, and runs."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from smoothl1 import huber_grad, huber_loss, smooth_l1_grad, smooth_l1_grad_hess, smooth_l1_loss

SOURCE = Path(__file__).parent / "downstream"


def compiler(variable):
    command = os.environ.get(variable) or sysconfig.get_config_var(variable) or "cl"
    return shutil.which(shlex.split(command)[0])


@pytest.fixture(scope="module", params=["c", "c++"])
def built(request, tmp_path_factory):
    """The extension module, from a build by the interpreter that runs the tests."""
    for package in ("Cython", "setuptools"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    needed = ["CC"] if request.param == "c" else ["CC", "CXX"]
    if not all(compiler(variable) for variable in needed):
        pytest.skip(f"there is no compiler of {request.param}")
    folder = tmp_path_factory.mktemp("downstream") / "package"
    shutil.copytree(SOURCE, folder)
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "ROBUST_LANGUAGE": request.param},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("robust*" + sysconfig.get_config_var("EXT_SUFFIX"))
    return path


@pytest.fixture(scope="module")
def robust(built):
    # Not by its name in sys.modules: there are two of it.
    spec = importlib.util.spec_from_file_location("robust", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same_bits(a, b):
    """Equal with the signs of zeros; the sign and payload of a NaN are not values."""
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.signbit(a) & ~np.isnan(a), np.signbit(b) & ~np.isnan(b))


def operands(dtype, beta, rng):
    info = np.finfo(dtype)
    beta = dtype(beta)
    edges = [0.0, info.smallest_subnormal, info.smallest_normal, 1.0, info.max, np.inf, np.nan]
    edges = np.array([*edges, beta, np.nextafter(beta, dtype(0))], dtype)
    around = beta * rng.uniform(0, 2, 300).astype(dtype) if beta < 1e30 else []
    z = np.concatenate([edges, around, np.exp(rng.normal(0, 5, 300)).astype(dtype)])
    x = np.concatenate([z, -z]).astype(dtype)
    return np.concatenate([x, x]), np.concatenate([np.zeros_like(x), rng.permutation(x)])


def rows_of_python(x, y, beta):
    """What the rows of robust.elements and robust.blocks should be; delta must be above 0."""
    dtype = x.dtype.type
    slope, curvature = smooth_l1_grad_hess(x, y, beta)
    rows = [smooth_l1_loss(x, y, "none", beta), slope, curvature]
    rows += [smooth_l1_grad_hess(x, y, beta, hessian="majorizer")[1]]
    same_bits(slope, smooth_l1_grad(x, y, "none", beta))
    if dtype(beta) > 0:
        rows += [huber_loss(x, y, "none", beta), huber_grad(x, y, "none", beta)]
        with np.errstate(all="ignore"):
            z, delta = abs(x - y), dtype(beta)
            nothing = np.where(np.isnan(z), z, dtype(0))
            rows += [np.where(z < delta, dtype(1), nothing)]
            rows += [np.where(z < delta, dtype(1), delta / z)]
    return np.array(rows)


@pytest.mark.parametrize("beta", [0.0, 1.0, 3, 0.1, 2.0**-1074, 2.0**-149, 1e-40, 1e300, np.inf])
def test_bits_of_the_python_functions(robust, dtype, beta, rng):
    with np.errstate(over="ignore"):  # 1e300 is infinite in float32
        x, y = operands(dtype, beta, rng)
        expected = rows_of_python(x, y, beta)
    assert np.isnan(expected).any(axis=1).all()
    for function in (robust.elements, robust.blocks):
        got = np.full((8, x.size), -7, dtype)
        function(x, y, beta, got)
        for row, wanted in zip(got, expected, strict=False):  # none of Huber's at delta = 0
            same_bits(row, wanted)


def test_values_by_hand(robust, dtype):
    x, y = np.array([3.0, -1.0, 0.5], dtype), np.array([0.0, 1.0, 0.5], dtype)
    expected = [
        [2.0, 1.0, 0.0],  # beta = 2
        [1.0, -1.0, 0.0],
        [0.0, 0.0, 0.5],
        [1 / 3, 0.5, 0.5],
        [4.0, 2.0, 0.0],
        [2.0, -2.0, 0.0],
        [0.0, 0.0, 1.0],
        [2 / 3, 1.0, 1.0],
    ]
    for function in (robust.elements, robust.blocks):
        got = np.empty((8, 3), dtype)
        function(x, y, 2.0, got)
        np.testing.assert_allclose(got, expected, rtol=1e-7)


def test_in_place(robust, dtype, rng):
    x, y = rng.standard_normal((2, 1001)).astype(dtype)
    rows = np.empty((8, 1001), dtype)
    rows[7] = x
    robust.blocks(rows[7], y, 0.3, rows)  # the last function writes over its input
    same_bits(rows, rows_of_python(x, y, 0.3))


def test_coordinate_descent(robust, rng):
    beta = 0.5
    X = np.asfortranarray(rng.standard_normal((400, 5)))
    truth = np.arange(1.0, 6.0)
    y = X @ truth + 0.1 * rng.standard_normal(400)
    y[:80] += 50  # outliers
    coef, residual = np.zeros(5), -y
    losses = []
    for _ in range(60):
        losses.append(smooth_l1_loss(X @ coef, y, beta=beta))
        robust.epoch(X, residual, coef, beta)
    assert all(after <= before * (1 + 1e-14) for before, after in pairwise(losses))
    # The minimum, by the gradient of the Python function, and not that of least squares.
    gradient = X.T @ smooth_l1_grad(X @ coef, y, "mean", beta)
    np.testing.assert_allclose(gradient, 0, atol=1e-9)
    np.testing.assert_allclose(coef, truth, atol=0.2)
    assert np.abs(np.linalg.lstsq(X, y)[0] - truth).max() > 1


def test_smoothl1_is_not_needed_to_run(built):
    code = "import robust, sys; print([m for m in sys.modules if m.startswith('smoothl1')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=built.parent, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "[]", done.stderr
