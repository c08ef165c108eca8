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
SMOOTHL1_REPOSITORY, SMOOTHL1_SITE
    Addresses of the repository and of the documentation. With them the metadata have URLs, and
    links and pictures of the README work where it is shown by itself. Releases are built so.
"""

import gzip
import os
import platform
import re
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from operator import call
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
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
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

GET_COMPILER = (
    "Debian, Ubuntu: apt install gcc python3-dev; Fedora: dnf install gcc python3-devel; "
    "macOS: xcode-select --install; Windows: Build Tools for Visual Studio with 'Desktop "
    "development with C++'"
)

OPENMP = os.environ.get("SMOOTHL1_OPENMP", "1") != "0"
WERROR = os.environ.get("SMOOTHL1_WERROR", "0") != "0"
Options.warning_errors = WERROR


def is_x86():
    return platform.machine().lower() in {"x86_64", "amd64"}


def translate(extensions):
    """Have Cython write the C files: those of several instruction sets at once, in processes."""
    # The C file takes its name from the .pyx, hence a folder for each module.
    tasks = [
        partial(
            cythonize,
            [extension],
            build_dir=f"build/cython/{extension.name}",
            compiler_directives=DIRECTIVES,
        )
        for extension in extensions
    ]
    if len(tasks) > 1:
        # Only Linux has several. Processes that are spawned would run this file again.
        with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
            found = list(pool.map(call, tasks))
    else:
        found = map(call, tasks)
    for extension, (translated,) in zip(extensions, found, strict=True):
        extension.sources = translated.sources


class Build(build_ext):
    """Asks the compiler what it can do before using it."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count()

    def build_extensions(self):
        self.check_tools()
        if self.compiler.compiler_type == "msvc":
            common, openmp, threads = MSVC_COMMON, ["/openmp"], []
        else:
            common = [flag for flag in COMMON if self.accepts([flag])]
            if "-ffp-contract=off" not in common:
                raise SystemExit(
                    f"smoothl1: the C compiler ({self.compiler_name()}) is too old or unknown: it "
                    f"does not accept -ffp-contract=off, as GCC 9 and Clang 14 do. {GET_COMPILER}"
                )
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
            kept.append(extension)
        translate(kept)
        self.extensions = kept
        super().build_extensions()

    def build_extension(self, extension):
        start = time.monotonic()
        print(f"smoothl1: compiling {extension.name}", flush=True)
        super().build_extension(extension)
        print(f"smoothl1: {extension.name} took {time.monotonic() - start:.0f} s", flush=True)

    def compiler_name(self):
        return getattr(self.compiler, "compiler", ["cl.exe"])[0]

    def check_tools(self):
        """Stop with one line where the compiler or Python's headers are missing."""
        if not self.accepts([]):
            raise SystemExit(
                f"smoothl1: no working C compiler (tried: {self.compiler_name()}). {GET_COMPILER}"
            )
        if not self.accepts([], "#include <Python.h>\nint main(void) { return 0; }"):
            version = ".".join(platform.python_version_tuple()[:2])
            raise SystemExit(
                f"smoothl1: the headers of Python {version} (Python.h) are missing. {GET_COMPILER}"
            )

    def accepts(self, flags, source="int main(void) { return 0; }"):
        """Whether a program compiles and links with these flags, without a warning."""
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


def description(repository, version):
    """Return the README; with a repository, its links and pictures are addresses there."""
    text = Path("README.md").read_text(encoding="utf-8")
    if not repository:
        return text

    def absolute(match):
        kind = "raw" if match[1] else "blob"
        return f"{match[1]}[{match[2]}]({repository}/{kind}/v{version}/{match[3]})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)", absolute, text)


def metadata():
    """Return what of the metadata depends on where the project is."""
    source = Path("smoothl1/_version.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__.*= "(.+)"$', source, re.MULTILINE)[1]
    repository = os.environ.get("SMOOTHL1_REPOSITORY", "").rstrip("/")
    urls = {"Documentation": os.environ.get("SMOOTHL1_SITE", "")}
    if repository:
        urls |= {
            "Source": repository,
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
            "Issues": f"{repository}/issues",
        }
    return {
        "long_description": description(repository, version),
        "long_description_content_type": "text/markdown",
        "project_urls": {name: url for name, url in urls.items() if url},
    }


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
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_25_API_VERSION")],
        )
        for variant in variants
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": Build, "sdist": SourceDistribution},
    **metadata(),
)
