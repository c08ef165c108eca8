"""Run the suite over the commits of ``main`` that changed code; keep the results on a branch.

    python asv_bench/history.py                          # commits without results, all benchmarks
    python asv_bench/history.py -n 20 --bench instructions
    python asv_bench/history.py --machine nightly --commit   # and commit what was found

Every commit is built into asv's environments with packages of PyPI, and the rounds of the commits
are interleaved, so that an hour of noise does not become a step in the history.

The results are asv's JSON files, on the branch ``asv-results``, which has no code and shares no
commit with ``main``. It is checked out where asv looks for results. They are no part of any
version of the code, they grow with each night, and a branch can be fetched, pushed and mended
alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / ".asv" / "results"
BRANCH = "asv-results"
CODE = ("src", "smoothl1", "setup.py")


def git(*arguments, cwd=HERE.parent, check=True):
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, check=check, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def check_out_results():
    """Have the branch checked out in asv's folder of results; make either where it is missing."""
    if (RESULTS / ".git").exists():
        return
    if RESULTS.exists() and any(RESULTS.iterdir()):
        sys.exit(
            f"{RESULTS} holds results of its own: move them away, and into {BRANCH} afterwards"
        )
    if not git("branch", "--list", BRANCH):
        start = git("branch", "--remotes", "--list", f"origin/{BRANCH}")
        if not start:
            empty = git("mktree", check=True)
            start = git("commit-tree", empty, "-m", "Results of the benchmarks, as asv's JSON")
        git("branch", "--no-track", BRANCH, start)
    git("worktree", "prune")
    git("worktree", "add", str(RESULTS), BRANCH)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--branch", default="main", help="whose commits (main)")
    parser.add_argument("-n", "--newest", type=int, metavar="N", help="only so many commits")
    parser.add_argument("--bench", action="append", default=[], metavar="REGEX")
    parser.add_argument("--rounds", type=int, default=4, help="of each benchmark (4)")
    parser.add_argument("--machine", default="here", help="its name in the results (here)")
    parser.add_argument("--again", action="store_true", help="commits that have results, too")
    parser.add_argument("--commit", action="store_true", help="commit the results to the branch")
    options = parser.parse_args()

    check_out_results()
    newest = [f"--max-count={options.newest}"] if options.newest else []
    commits = git("rev-list", *newest, options.branch, "--", *CODE)
    subprocess.run(["asv", "machine", "--yes", "--machine", options.machine], cwd=HERE, check=True)
    command = ["asv", "run", "--machine", options.machine, "--interleave-rounds"]
    command += ["--attribute", f"rounds={options.rounds}"]
    command += [] if options.again else ["--skip-existing"]
    for bench in options.bench:
        command += ["--bench", bench]
    status = subprocess.run([*command, "HASHFILE:-"], cwd=HERE, input=commits, text=True).returncode
    if options.commit:
        git("add", "--all", cwd=RESULTS)
        if git("status", "--porcelain", cwd=RESULTS):
            git("commit", "--message", f"Results of {options.machine}", cwd=RESULTS)
    return status


if __name__ == "__main__":
    sys.exit(main())
