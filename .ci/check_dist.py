"""Check what the distributions in a folder hold: ``python .ci/check_dist.py dist``.

The folder has one source distribution and one wheel, repaired or not.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
(source,) = folder.glob("*.tar.gz")

names = zipfile.ZipFile(wheel).namelist()
wrong = [n for n in names if n.endswith((".c", ".pyx", ".o")) or n.startswith(("tests", "src"))]
assert not wrong, wrong
assert any("_smoothl1_baseline" in name and name.endswith((".so", ".pyd")) for name in names)
for needed in ("smoothl1/py.typed", "smoothl1/_smoothl1_baseline.pyi", "smoothl1/_smoothl1.pxd"):
    assert needed in names, needed
assert sum(name.endswith(".npy") for name in names) == 2
if "manylinux" in wheel.name:  # brings its OpenMP runtime, and the licence of that
    assert sum(name.startswith("smoothl1.libs/libgomp-") for name in names) == 1
    assert any(name.endswith("/licenses/docs/licenses/libgomp.txt") for name in names)

with tarfile.open(source) as archive:
    names = [name.partition("/")[2] for name in archive.getnames()]
for needed in (
    "src/_smoothl1.pyx",
    "src/pairs.pxd",
    "src/sizes.h",
    "smoothl1/_smoothl1.pxd",
    "setup.py",
    "tests/test_sums.py",
    "tests/downstream/robust.pyx",
    "LICENSE",
):
    assert needed in names, needed
wrong = [name for name in names if name.endswith((".c", ".so", ".pyc"))]
assert not wrong, wrong
print(f"{wheel.name} and {source.name} hold what they should")
