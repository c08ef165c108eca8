"""Build of the compiled core; the metadata is in pyproject.toml.

``src/_smoothl1.pyx`` is compiled once per instruction set, under a module name each.
``smoothl1/_simd.py`` imports the one that suits the processor.

Environment variables of the build:

SMOOTHL1_OPENMP
    0 leaves OpenMP out even where the compiler has it.
SMOOTHL1_WERROR
    1 makes every warning of Cython, and of GCC or Clang, an error.
CFLAGS
    Go to the compiler as usual. Without a ``-g`` in them there is no debug information: it
    names the folders of the build, so that no two builds would give the same bytes.
SOURCE_DATE_EPOCH
    The time of every file in the distributions: the same sources give the same bytes.
"""

import gzip
import os
import platform
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy
from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

SOURCE = "src/_smoothl1.pyx"

# The smallest flags that give each set: -march=... would allow instructions that
# ``smoothl1/_simd.py`` does not check for.
VARIANTS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx512f",
        "-mavx512vl",
        "-mavx512bw",
        "-mavx512dq",
        "-mprefer-vector-width=512",
    ],
}

# No value may depend on the instruction set: AVX-512 brings fused multiply-adds, so
# contraction is off everywhere. The other two change no value; without
# -fno-trapping-math GCC does not turn a branch into a selection, which is what makes
# the kernels vectorise. -ffast-math is never used.
COMMON = ["-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]
MSVC_COMMON = ["/O2", "/fp:precise"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
    "auto_pickle": False,
}

OPENMP = os.environ.get("SMOOTHL1_OPENMP", "1") != "0"
WERROR = os.environ.get("SMOOTHL1_WERROR", "0") != "0"
Options.warning_errors = WERROR


def is_x86():
    return platform.machine().lower() in {"x86_64", "amd64"}


class Build(build_ext):
    """Asks the compiler what it can do before using it."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count()

    def build_extensions(self):
        if self.compiler.compiler_type == "msvc":
            common, openmp, threads = MSVC_COMMON, ["/openmp"], []
        else:
            common = [flag for flag in COMMON if self.accepts([flag])]
            if "-ffp-contract=off" not in common:
                raise SystemExit("smoothl1 needs a compiler that accepts -ffp-contract=off")
            if not any(flag.startswith("-g") for flag in os.environ.get("CFLAGS", "").split()):
                common.append("-g0")
            if WERROR:
                # Cython's type objects may lack a field that a newer CPython has.
                common += ["-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror"]
            openmp, threads = ["-fopenmp"], ["-fopenmp"]
        if not OPENMP:
            openmp = threads = []
        elif not self.accepts(
            openmp, "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }"
        ):
            self.warn("the compiler has no OpenMP: smoothl1 is built to run on one thread")
            openmp = threads = []

        kept = []
        for extension in self.extensions:
            variant = extension.name.rpartition("_smoothl1_")[2]
            flags = VARIANTS[variant]
            if not self.accepts(flags):
                self.warn(f"the compiler refuses {' '.join(flags)}: no {variant} kernels are built")
                continue
            extension.extra_compile_args = common + openmp + flags + extension.extra_compile_args
            extension.extra_link_args = threads + extension.extra_link_args
            # The C file takes its name from the .pyx, hence a folder for each module.
            extension.sources = cythonize(
                [extension], build_dir=f"build/cython/{variant}", compiler_directives=DIRECTIVES
            )[0].sources
            kept.append(extension)
        self.extensions = kept
        super().build_extensions()

    def accepts(self, flags, source="int main(void) { return 0; }"):
        """Whether a program compiles and links with these flags, without a warning."""
        if not flags:
            return True
        strict = [] if self.compiler.compiler_type == "msvc" else ["-Werror"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "try.c")
            path.write_text(source + "\n")
            stderr = os.dup(2)  # the compiler's complaint is not the user's
            devnull = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(devnull, 2)
                objects = self.compiler.compile(
                    [str(path)], output_dir=folder, extra_postargs=[*flags, *strict]
                )
                self.compiler.link_executable(
                    objects, str(Path(folder, "try")), extra_postargs=flags
                )
            except Exception:  # distutils' CompileError and LinkError have moved about
                return False
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
                os.close(devnull)
        return True


class SourceDistribution(sdist):
    """Leaves the time, the owner and the umask of the build out of the archive."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **_):
        moment = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))

        def plain(member):
            member.mtime = moment
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        path = f"{base_name}.tar.gz"
        with (
            gzip.GzipFile(path, "wb", mtime=moment) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=plain)
        return path


def extensions():
    variants = ["baseline"]
    if is_x86() and sys.platform == "linux":
        variants += ["avx2", "avx512"]
    include = numpy.get_include()
    return [
        Extension(
            f"smoothl1._smoothl1_{variant}",
            [SOURCE],
            depends=[str(path) for path in Path("src").glob("*.*")],
            include_dirs=[include, "src"],
            # half-precision conversions
            libraries=["npymath"],
            library_dirs=[str(Path(include).parent / "lib")],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_25_API_VERSION")],
        )
        for variant in variants
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": Build, "sdist": SourceDistribution})
