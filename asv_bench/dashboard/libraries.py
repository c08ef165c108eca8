"""The JavaScript libraries of asv's page, from the npm registry instead of from CDNs.

Versions and hashes are those of ``package-lock.json``. What was downloaded once stays in the
user's cache, so that the next ``asv publish`` needs no network.
"""

import base64
import functools
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path

from asv.util import UserError

LOCK = Path(__file__).with_name("package-lock.json")

# By the file name that asv's page asks for: the package, and the file in it.
ASKED = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot/jquery.flot.js",
    "jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
# What our page needs beside these: a mark of its own for each line.
OURS = ["flot/jquery.flot.symbol.js"]


@functools.cache
def registry():
    """Return the address of the registry that npm is set up for, or else the public one."""
    found = next((v for k, v in os.environ.items() if k.lower() == "npm_config_registry"), None)
    if not found and (npm := shutil.which("npm")):
        command = [npm, "config", "get", "registry"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return (found or "https://registry.npmjs.org").rstrip("/")


def cache_folder():
    """Return the folder in the user's cache that keeps what was downloaded."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "smoothl1-dashboard"


def fetch(package):
    """Return the tarball of a package of the lock file, its hash verified."""
    entry = json.loads(LOCK.read_text())["packages"][f"node_modules/{package}"]
    name = f"{package}-{entry['version']}.tgz"
    kept = cache_folder() / name
    if kept.exists() and _integrity(kept.read_bytes()) == entry["integrity"]:
        return kept.read_bytes()

    url = f"{registry()}/{package}/-/{name}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read()
    except OSError as error:
        raise UserError(
            f"cannot download {url}: {error}. The published site needs {package} "
            f"{entry['version']}: set npm_config_registry to a registry that can be reached"
        ) from error
    if (found := _integrity(content)) != entry["integrity"]:
        raise UserError(
            f"{url} is not what {LOCK.name} asks for: its hash is {found}, "
            f"not {entry['integrity']}; nothing of it was used"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.replace(kept)
    return content


def _integrity(content):
    """Return the hash of some bytes as lock files and web pages write it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def read(paths):
    """Return files of packages by their path, ``package/file``, and each package's licence."""
    found = {}
    wanted = set(paths)
    for package in sorted({path.partition("/")[0] for path in wanted}):
        with tarfile.open(fileobj=io.BytesIO(fetch(package))) as tarball:
            for member in tarball:
                file = member.name.partition("/")[2]  # the first folder is any name
                if f"{package}/{file}" in wanted or re.match(r"LICEN[CS]E[^/]*$", file):
                    found[f"{package}/{file}"] = tarball.extractfile(member).read()
    if missing := wanted - found.keys():
        raise UserError(f"{LOCK.name} names packages without {', '.join(sorted(missing))}")
    return found


def install(site):
    """Write the libraries to ``vendor/`` of a site, and have its index.html ask for them there."""
    for path, content in read([*ASKED.values(), *OURS]).items():
        target = site / "vendor" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    index = site / "index.html"
    index.write_text(re.sub(r"<(?:script|link)\b[^>]*>", _localised, index.read_text()))


def _localised(tag):
    """Return a tag of a page with the copy on the site instead of an address elsewhere."""
    text = tag[0]
    address = re.search(r'"((?:https?:)?//[^"]*)"', text)
    if address is None:
        return text
    name = address[1].rpartition("/")[2]
    if name not in ASKED:
        raise UserError(f"asv's page asks for {address[1]}, which {__file__} does not know")
    text = text.replace(address[1], f"vendor/{ASKED[name]}")
    return re.sub(r'\s+(integrity|crossorigin|referrerpolicy|onerror)="[^"]*"', "", text)
