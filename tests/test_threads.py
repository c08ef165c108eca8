"""How many threads run, who decides, and forks."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import smoothl1
from smoothl1 import _threads
from smoothl1._simd import core

openmp = pytest.mark.skipif(not core.openmp_version(), reason="built without OpenMP")


@pytest.fixture(autouse=True)
def default_setting():
    yield
    smoothl1.set_num_threads(None)


def run(code, **environment):
    """Run code in a fresh process; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_precedence(monkeypatch):
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", "5")
    assert smoothl1.get_num_threads() == 5
    smoothl1.set_num_threads(4)
    assert smoothl1.get_num_threads() == 4
    with smoothl1.num_threads(3):
        assert smoothl1.get_num_threads() == 3
        with smoothl1.num_threads(2):
            assert smoothl1.get_num_threads() == 2
        assert smoothl1.get_num_threads() == 3
    assert smoothl1.get_num_threads() == 4
    smoothl1.set_num_threads(None)
    assert smoothl1.get_num_threads() == 5
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", "")
    assert smoothl1.get_num_threads() >= 1


@pytest.mark.parametrize("setting", ["0", "-3", "two", "1.5"])
def test_bad_environment(monkeypatch, setting):
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", setting)
    with pytest.raises(
        ValueError, match=f"SMOOTHL1_NUM_THREADS must be an integer of at least 1, got '{setting}'"
    ):
        smoothl1.get_num_threads()
    x = np.zeros(10**6)
    with pytest.raises(ValueError, match="SMOOTHL1_NUM_THREADS"):
        smoothl1.smooth_l1_loss(x, x)


def test_context_is_left_on_errors_and_reused():
    context = smoothl1.num_threads(3)
    with pytest.raises(KeyError), context:
        raise KeyError
    with context, context:
        assert smoothl1.get_num_threads() == 3
    assert repr(context) == "num_threads(3)"
    assert _threads.requested() is None


def test_context_belongs_to_its_thread_and_task():
    seen = []
    with smoothl1.num_threads(7):
        thread = threading.Thread(target=lambda: seen.append(_threads.requested()))
        thread.start()
        thread.join()
    assert seen == [None]

    async def task(n):
        with smoothl1.num_threads(n):
            await asyncio.sleep(0.01)
            return smoothl1.get_num_threads()

    async def both():
        return await asyncio.gather(task(2), task(3))

    assert asyncio.run(both()) == [2, 3]


TEAM = """
    import numpy as np, smoothl1, os
    x = np.ones(10**6, np.float32)
    before = len(os.listdir("/proc/self/task"))
    {call}
    print(len(os.listdir("/proc/self/task")) - before + 1)
"""


@openmp
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
@pytest.mark.parametrize(
    ("call", "environment", "threads"),
    [
        ("smoothl1.smooth_l1_loss(x, x, n_threads=3)", {}, 3),
        ("smoothl1.smooth_l1_loss(x, x, n_threads=1)", {"SMOOTHL1_NUM_THREADS": "3"}, 1),
        ("smoothl1.smooth_l1_loss(x[::2], x[::2], n_threads=3)", {}, 3),
        ("smoothl1.set_num_threads(3); smoothl1.smooth_l1_loss(x, x)", {}, 3),
        ("smoothl1.smooth_l1_loss(x, x)", {"SMOOTHL1_NUM_THREADS": "3"}, 3),
        ("smoothl1.smooth_l1_loss(x, x)", {"OMP_NUM_THREADS": "1"}, 1),
        ("smoothl1.smooth_l1_grad(x, x, 'none')", {"SMOOTHL1_NUM_THREADS": "2"}, 2),
        ("smoothl1.smooth_l1_path(x, x, [1.0], n_threads=2)", {}, 2),
        ("smoothl1.smooth_l1_grad_hess(x, x, n_threads=2)", {}, 2),
        # A team that could not be started would end the process.
        (
            "x = np.ones(10**7, np.float32); smoothl1.smooth_l1_loss(x, x, n_threads=10**6)",
            {},
            max(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1),
        ),
        # Too little work for a team.
        ("smoothl1.smooth_l1_loss(x[:1000], x[:1000], n_threads=8)", {}, 1),
    ],
)
def test_threads_that_run(call, environment, threads):
    clean = {"OMP_NUM_THREADS": "", "SMOOTHL1_NUM_THREADS": ""}
    assert int(run(TEAM.format(call=call), **{**clean, **environment})) == threads


@openmp
def test_threadpoolctl_is_obeyed():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1):
        assert smoothl1.get_num_threads() == 1


@openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_default_is_capped_by_affinity():
    code = """
        import os, smoothl1
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(smoothl1.get_num_threads())
    """
    assert run(code, OMP_NUM_THREADS="4", SMOOTHL1_NUM_THREADS="") == "1"


def fake_cgroup(tmp_path, monkeypatch, lines, files):
    """Redirect the paths that are looked at to a folder of the test's."""
    real = _threads.Path

    def redirected(path, *rest):
        text = str(path)
        if text == "/proc/self/cgroup":
            return real(tmp_path / "cgroup")
        if text.startswith("/sys/fs/cgroup"):
            return real(tmp_path / text.lstrip("/"), *rest)
        return real(path, *rest)

    (tmp_path / "cgroup").write_text(lines)
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(_threads, "Path", redirected)
    return _threads.cpu_quota.__wrapped__()


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 2**31 - 1),
        ("0::/\n", {}, 2**31 - 1),
        (
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            3,
        ),
        (
            "4:cpu,cpuacct:/box\n0::/\n",
            {
                "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        ("4:memory:/box\n", {}, 2**31 - 1),
    ],
)
def test_cgroup_quota(tmp_path, monkeypatch, lines, files, expected):
    assert fake_cgroup(tmp_path, monkeypatch, lines, files) == expected


def test_quota_caps_the_default(monkeypatch):
    monkeypatch.setattr(_threads, "cpu_quota", lambda: 1)
    monkeypatch.delenv("SMOOTHL1_NUM_THREADS", raising=False)
    assert smoothl1.get_num_threads() == 1


def test_many_python_threads_at_once(rng):
    x, y = rng.standard_normal((2, 200_000))
    strided = x[::2], y[::2]
    expected = smoothl1.smooth_l1_loss(x, y), smoothl1.smooth_l1_loss(*strided, "sum", 0.37)
    grad = smoothl1.smooth_l1_grad(x, y)

    def call(_):
        assert smoothl1.smooth_l1_loss(x, y) == expected[0]
        assert smoothl1.smooth_l1_loss(*strided, "sum", 0.37) == expected[1]
        np.testing.assert_array_equal(smoothl1.smooth_l1_value_and_grad(x, y)[1], grad)
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(64)))


DEBT = """
    import os, numpy as np, smoothl1
    from smoothl1._simd import core
    x, y = np.linspace(-3, 3, 10**6), np.zeros(10**6)
    core.team_debt(1e-3)
    losses, debts = [], []
    for _ in range(10_000):
        losses.append(smoothl1.smooth_l1_loss(x, y, n_threads=2))
        debts.append(core.team_debt())
        if core.team_state()[0]:
            break
    serial = debts[: next(i for i, debt in enumerate(debts) if debt <= 0) + 1]
    print(len(set(losses)), serial == sorted(serial, reverse=True), 1 < len(losses) < 10_000)
"""


@openmp
def test_the_debt_of_a_slow_team_is_repaid_on_one_thread():
    """Serial calls repay it, with the same bits; then a team is started again."""
    clean = {"SMOOTHL1_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    assert run(DEBT, **clean) == "1 True True"


FORK = """
    import os, sys, numpy as np, smoothl1
    x = np.linspace(-3, 3, 10**6)
    y = np.zeros(10**6)
    serial = smoothl1.smooth_l1_loss(x, y, n_threads=1)
    {before}
    pid = os.fork()
    if pid == 0:
        same = smoothl1.smooth_l1_loss(x, y, n_threads=4) == serial
        same = same and smoothl1.smooth_l1_value_and_grad(x, y, n_threads=4)[0] == serial
        note = smoothl1.show_config("dicts")["threads"]
        print(same, note["this process"].split(":")[0], len(os.listdir("/proc/self/task")))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
"""  # a child that hangs is ended by the time limit of ``run``


@openmp
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and counts in /proc")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork():
    clean = {"SMOOTHL1_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    after_team = run(FORK.format(before="smoothl1.smooth_l1_loss(x, y, n_threads=2)"), **clean)
    assert after_team == "True forked from a process that had run threads 1"
    # The parent never ran a team: the child keeps its threads.
    fresh = run(FORK.format(before=""), **clean)
    assert fresh == "True has run threads 4"


def child_loss(n):
    x = np.linspace(-3, 3, n)
    return float(smoothl1.smooth_l1_loss(x, np.zeros(n)))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_process_pools(method):
    expected = child_loss(10**6)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(child_loss, [10**6] * 3, timeout=60)) == [expected] * 3
