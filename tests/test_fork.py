"""Children of a process that ran threads, its own or another library's: nothing hangs.

GNU's OpenMP waits forever in a child for the threads that only its parent has. A child that
hangs is ended by the time limit of ``run``, which fails the test.
"""

import http.client
import json
import multiprocessing
import socket
import sys
import textwrap
import time

import pytest

from tests.processes import linux, openmp, openmp_library, run, session

pytestmark = [linux, openmp, pytest.mark.thread_unsafe(reason="starts processes")]

LOST = "forked from a process that had run threads"
RAN = "has run threads"

# What the scripts share.
COMMON = '''
import hashlib
import os
import sys

import numpy as np

import smoothl1

x = np.linspace(-3, 3, 10**6)
y = np.zeros(10**6)
table = x.reshape(1000, 1000), y.reshape(1000, 1000)
many = x.reshape(-1, 4), y.reshape(-1, 4)


def digest(n_threads=None):
    """A hash of what every driver returns."""
    options = {"n_threads": n_threads}
    found = [
        smoothl1.smooth_l1_loss(x, y, **options),
        smoothl1.smooth_l1_loss(x[::2], y[::2], "sum", 0.37, **options),
        smoothl1.smooth_l1_loss(x, y, "none", **options),
        *smoothl1.smooth_l1_value_and_grad(x, y, beta=0.37, **options),
        smoothl1.smooth_l1_path(x, y, [0.1, 1.0, 2.5], **options),
        smoothl1.smooth_l1_loss(*table, axis=0, **options),
        smoothl1.smooth_l1_loss(*many, axis=1, **options),
        *smoothl1.smooth_l1_grad_hess(x, y, **options),
    ]
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in found)).hexdigest()


def tasks():
    return len(os.listdir("/proc/self/task"))


def threads_of(n_threads=3):
    """The number of threads that a call runs on, before there were others."""
    before = tasks()
    smoothl1.smooth_l1_loss(x, y, n_threads=n_threads)
    return tasks() - before + 1


def state():
    return smoothl1.show_config("dicts")["threads"]["this process"].split(":")[0]


def in_child(function):
    """Fork, and return what function returns in the child, as text."""
    sys.stdout.flush()
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(begin, str(function()).encode())
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.close(begin)
    answer = os.fdopen(end).read()
    os.waitpid(child, 0)
    return answer


def report():
    return threads_of(), digest(3) == digest() == serial, state()


serial = digest(1)  # which starts no team
'''


def script(code):
    return COMMON + textwrap.dedent(code)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", (3, True, RAN)),
        ("digest(2)", (1, True, LOST)),
        # As above, whatever the parent was doing with other threads.
        ("threading.Thread(target=digest, args=(2,)).start(); time.sleep(0.2)", (1, True, LOST)),
    ],
    ids=["fresh", "after a team", "after a team of another thread"],
)
def test_child(before, expected):
    code = script(f"import threading, time\n{before}\nprint(in_child(report))")
    assert run(code) == str(expected)


def test_show_config_says_why_there_is_one_thread():
    code = script(
        """
        digest(2)
        in_child(smoothl1.show_config)
        """
    )
    lines = [line.strip() for line in run(code).splitlines()]
    assert f"this process: {LOST}: every call runs on one thread" in lines
    assert "limit: 1" in lines


def test_grandchildren():
    lost = script("digest(2)\nprint(in_child(lambda: in_child(report)))")
    assert run(lost) == str((1, True, LOST))
    fresh = script("print(in_child(lambda: in_child(report)))")
    assert run(fresh) == str((3, True, RAN))
    # The child runs the team, not its parent.
    second = script("print(in_child(lambda: (report(), in_child(report))))")
    assert run(second) == str(((3, True, RAN), str((1, True, LOST))))


def test_parent_goes_on_after_a_fork():
    """Its waiting threads were given up for the fork; the next call starts them anew."""
    code = script(
        """
        digest(2)
        for _ in range(5):
            assert in_child(digest) == serial
            assert digest(2) == serial
        print(state())
        """
    )
    assert run(code) == RAN


def test_fork_while_other_threads_compute():
    """The child has neither them nor their part of the processors."""
    code = script(
        """
        import threading
        huge = np.broadcast_to(1.5, (10**12,))
        for _ in range(3):  # on one thread each: this starts no team
            threading.Thread(
                target=smoothl1.smooth_l1_loss, args=(huge, huge), kwargs={"n_threads": 1},
                daemon=True,
            ).start()
        print(in_child(lambda: (threads_of(None), digest() == serial)))
        sys.stdout.flush()
        os._exit(0)
        """
    )
    assert run(code, SMOOTHL1_NUM_THREADS="2") == "(2, True)"


def test_pre_fork_server():
    """A parent that loads and warms up, then forks its workers, and replaces one that ends."""
    code = script(
        """
        digest(2)
        end, begin = os.pipe()

        def worker():
            for _ in range(3):
                os.write(begin, f"{digest() == serial} {state()}\\n".encode())
            os._exit(0)

        def fork():
            child = os.fork()
            return child if child else worker()

        workers = [fork(), fork()]
        for _ in range(2):
            workers.remove(os.wait()[0])
            digest(2)
            workers.append(fork())
        for child in workers:
            os.waitpid(child, 0)
        os.close(begin)
        answers = os.fdopen(end).read().splitlines()
        print(len(answers), set(answers))
        """
    )
    assert run(code) == str(12) + " " + str({f"True {LOST}"})


APP = """
import json, threading

digest(2)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), digest() == serial, state()]).encode()]
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        """Connect once the server listens: its socket is there a moment before."""
        for attempt in range(600):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(str(self.path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                self.sock.close()
                if attempt == 599:
                    raise
                time.sleep(0.1)


def get(path):
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_gunicorn(tmp_path):
    pytest.importorskip("gunicorn")
    (tmp_path / "app_of_a_test.py").write_text(COMMON + APP)
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"]
    command += ["--timeout", "30", "--bind", f"unix:{path}", "app_of_a_test:app"]
    answers = []
    with session(command, {"HOME": str(tmp_path)}, cwd=tmp_path):  # where it leaves files
        for _ in range(8):
            status, body = get(path)
            assert status == 200
            answers.append(json.loads(body))
    assert {tuple(answer[1:]) for answer in answers} == {(True, LOST)}


POOL = """
import concurrent.futures
import multiprocessing


def work(_):
    return digest(2) == serial, state()


if __name__ == "__main__":
    {before}
    context = multiprocessing.get_context("{method}")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = set(pool.map(work, range(4)))
    with context.Pool(2) as pool:
        answers |= set(pool.map(work, range(4), chunksize=1))
    print(answers)
"""


@pytest.mark.parametrize("before", ["pass", "digest(2)"], ids=["fresh", "after a team"])
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing_pools(method, before):
    """spawn and forkserver keep their threads in any case."""
    lost = method == "fork" and before != "pass"
    answers = run(COMMON + POOL.format(method=method, before=before))
    assert answers == str({(True, LOST if lost else RAN)})


JOBLIB = """
import joblib


def work(_):
    return digest(2) == serial, state(), smoothl1.get_num_threads()


if __name__ == "__main__":
    {before}
    with joblib.parallel_config(backend="{backend}", n_jobs=2, **{options}):
        print(set(joblib.Parallel(timeout=60)(joblib.delayed(work)(i) for i in range(6))))
"""


@pytest.mark.parametrize("before", ["pass", "digest(2)"], ids=["fresh", "after a team"])
@pytest.mark.parametrize("share", [1, 2])
def test_joblib_loky(before, share):
    """Workers are no forks, and stay within the number that joblib gives them."""
    joblib = pytest.importorskip("joblib")
    if share > joblib.cpu_count():
        pytest.skip("needs two processors")
    code = JOBLIB.format(before=before, backend="loky", options={"inner_max_num_threads": share})
    assert run(COMMON + code) == str({(True, RAN, share)})


@pytest.mark.parametrize("before", ["pass", "digest(2)"], ids=["fresh", "after a team"])
def test_joblib_multiprocessing(before):
    pytest.importorskip("joblib")
    code = JOBLIB.format(before=before, backend="multiprocessing", options={})
    answers = run(COMMON + code, JOBLIB_START_METHOD="fork", SMOOTHL1_NUM_THREADS="2")
    assert answers == str({(True, RAN if before == "pass" else LOST, 2)})


USES = {
    "torch": """
        import torch
        torch.set_num_threads(2)
        def use():
            torch.nn.functional.smooth_l1_loss(torch.ones(10**6), torch.zeros(10**6))
            torch.rand(500, 500) @ torch.rand(500, 500)
        """,
    "sklearn": """
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.metrics import pairwise_distances_argmin
        def use():
            X = np.random.default_rng(0).standard_normal((2000, 5))
            HistGradientBoostingRegressor(max_iter=3).fit(X, X[:, 0]).predict(X)
            pairwise_distances_argmin(X, X[:100])
        """,
}


@pytest.mark.parametrize("ours", ["", "digest(2)"], ids=["", "after a team"])
@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("library", USES)
def test_other_libraries_ran_threads(library, first, ours):
    """Which is imported first decides whose OpenMP runtime both use, if they share it."""
    pytest.importorskip(library)
    theirs = textwrap.dedent(USES[library])
    code = f"{ours}\nuse()\nprint(in_child(report))"
    code = theirs + COMMON + code if first == "theirs" else COMMON + theirs + code
    expected = (1, True, LOST) if ours else (3, True, RAN)
    assert run("import numpy as np\n" + code, OMP_NUM_THREADS="2") == str(expected)


@pytest.mark.parametrize("ours", ["", "digest(2)"], ids=["", "after a team"])
def test_a_library_with_the_same_runtime_ran_threads(tmp_path, ours):
    code = f"""
import ctypes
library = ctypes.CDLL({str(openmp_library(tmp_path))!r})
{ours}
assert library.team(4, None) == 4
print(in_child(report))
print(library.team(4, None))  # the parent's threads are started anew
"""
    expected = (1, True, LOST) if ours else (3, True, RAN)
    assert run(COMMON + code) == f"{expected}\n4"
