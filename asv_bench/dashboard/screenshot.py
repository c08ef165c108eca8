"""Make the picture of the dashboard that the README shows, from a published site.

python asv_bench/dashboard/screenshot.py asv_bench/.asv/html docs/dashboard.png
"""

import argparse
from pathlib import Path

from browser import launched, serve, watched


def main():
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder that `asv publish` wrote")
    parser.add_argument("output", type=Path)
    parser.add_argument("--page", default="peers.html")
    parser.add_argument("--size", type=int, nargs=2, default=[1100, 860], metavar="PIXELS")
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    options = parser.parse_args()
    width, height = options.size
    view = {"width": width, "height": height}
    with serve(options.site) as address, launched() as browser:
        opened = watched(browser, address, viewport=view, color_scheme=options.scheme)
        with opened as (page, wrong):
            page.goto(f"{address}/{options.page}", wait_until="networkidle")
            page.screenshot(path=options.output)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
