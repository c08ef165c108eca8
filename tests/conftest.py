import os

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that wait leave the processors to the tests beside them. The runtime reads it once,
    # when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    import hypothesis
except ImportError:  # optional; the modules that use it are skipped
    pass
else:
    # The usual run draws the same examples every time: what fails is the change at hand. The
    # long one (--hypothesis-profile=long) draws 50 times as many, and others each time.
    hypothesis.settings.register_profile("usual", derandomize=True, print_blob=True)
    hypothesis.settings.register_profile("long", max_examples=5000, print_blob=True)
    hypothesis.settings.load_profile("usual")


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20261120)
