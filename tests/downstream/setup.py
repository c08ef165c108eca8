"""A package of its own that cimports smoothl1: what ``tests/test_cython.py`` builds."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import smoothl1

robust = Extension(
    "robust",
    ["robust.pyx"],
    language=os.environ.get("ROBUST_LANGUAGE", "c"),
    # For the bits of the Python functions, and for speed.
    extra_compile_args=[]
    if sys.platform == "win32"
    else ["-O3", "-ffp-contract=off", "-fno-trapping-math"],
)

setup(
    name="robust",
    py_modules=[],
    # Only an editable install of smoothl1 needs include_path: Python may find it by an import
    # hook, of which Cython knows nothing.
    ext_modules=cythonize(
        [robust],
        include_path=[str(Path(smoothl1.__file__).parents[1])],
        compiler_directives={"freethreading_compatible": True},
    ),
)
