"""Run every benchmark once, in one process: does it work? For figures there is asv.

    python asv_bench/once.py                 # all of them
    python asv_bench/once.py '^reductions'   # those whose name has it

asv takes a process for each set of parameters, most of whose time is spent on imports. The status
is 1 where a benchmark failed; what is n/a here is counted.
"""

import argparse
import gc
import re
import sys
import time
import traceback

from tqdm import tqdm
from worker import Worker


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="", help="of the names of benchmarks")
    parser.add_argument("--slowest", type=int, default=10, metavar="N", help="are listed")
    arguments = parser.parse_args()
    worker = Worker()
    names = [name for name in worker.found if re.search(arguments.pattern, name)]
    if not names:
        parser.error(f"PATTERN {arguments.pattern!r} is in the name of no benchmark")
    absent, failed, took = 0, 0, {}
    for name in tqdm(names, unit=" benchmarks", disable=None):
        begin = time.perf_counter()
        try:
            if worker.found[name][0] == "track":
                worker.track(name)
            else:
                worker.setup(name)
        except NotImplementedError:
            absent += 1
        except Exception:
            failed += 1
            print(f"{name}\n{traceback.format_exc()}", file=sys.stderr)
        worker.timer = None  # and with it the arrays of this benchmark
        gc.collect()
        took[name] = time.perf_counter() - begin
    for name in sorted(took, key=took.get, reverse=True)[: arguments.slowest]:
        print(f"{took[name]:6.2f} s  {name}")
    print(f"{len(names)} benchmarks: {failed} failed, {absent} n/a, {sum(took.values()):.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
