"""How many threads run, who decides, and many callers at once. Forks: test_fork.py."""

import asyncio
import concurrent.futures
import contextvars
import copy
import gc
import os
import pickle
import random
import re
import sysconfig
import threading
import weakref

import numpy as np
import pytest

import smoothl1
from smoothl1 import _cgroups, _threads, compat
from smoothl1._simd import core
from tests.processes import linux, openmp, openmp_library, run

pytestmark = pytest.mark.thread_unsafe(reason="changes settings of the process")

PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture(autouse=True)
def default_setting():
    yield
    smoothl1.set_num_threads(None)


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


BAD_SETTINGS = ["0", "-3", "two", "1.5", " ", "3000000000", "9" * 5000, "NaN", "2 3"]


def bad_setting(setting):
    most = "; the most is 2147483647" if setting.startswith("3") else ""
    return f"SMOOTHL1_NUM_THREADS must be an integer of at least 1, got {setting!r}{most}"


@pytest.mark.parametrize("setting", BAD_SETTINGS, ids=lambda text: text[:12])
def test_bad_environment(monkeypatch, setting):
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", setting)
    x = np.zeros(10**6)
    for call in (
        smoothl1.get_num_threads,
        smoothl1.show_config,
        lambda: smoothl1.smooth_l1_loss(x, x),
        lambda: smoothl1.smooth_l1_loss([1.0], [2.0]),
        lambda: smoothl1.smooth_l1_loss(x[::-1], 0.0, n_threads=None),
        lambda: smoothl1.smooth_l1_grad_hess(x[:2], x[:2]),
        lambda: smoothl1.huber_location([1.0], 1.0),
        lambda: compat.torch_smooth_l1_loss(1.0, 2.0),
    ):
        with pytest.raises(ValueError, match=re.escape(bad_setting(setting)) + "$"):
            call()
    # Where something else decides, the variable is not needed.
    smoothl1.smooth_l1_loss(x, x, n_threads=2)
    smoothl1.smooth_l1_loss([1.0], [2.0], n_threads=2)
    with smoothl1.num_threads(2):
        smoothl1.smooth_l1_loss(x, x)
        smoothl1.show_config("dicts")
    smoothl1.set_num_threads(2)
    assert smoothl1.get_num_threads() == 2
    smoothl1.huber_location([1.0], 1.0)


@pytest.mark.parametrize("setting", ["3", "2147483647", " 3 ", "+3", "03", "1_0", "\u0663"])
def test_odd_environment(monkeypatch, setting):
    """What `int` reads is a number, however it is written."""
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", setting)
    assert smoothl1.get_num_threads() == int(setting)
    x = np.zeros(3)
    smoothl1.smooth_l1_loss(x, x, weight=x)
    smoothl1.huber_location([1.0], 1.0)


def test_environment_that_changes(monkeypatch):
    """Each call looks at what the environment is at the time."""
    x = np.zeros(3)
    for setting in ("2", "two", "", "0", None, "99999999999", "4"):
        if setting is None:
            monkeypatch.delenv("SMOOTHL1_NUM_THREADS")
        else:
            monkeypatch.setenv("SMOOTHL1_NUM_THREADS", setting)
        if setting in ("two", "0", "99999999999"):
            assert not core.is_environment_plain()
            with pytest.raises(ValueError, match="SMOOTHL1_NUM_THREADS must be an integer"):
                smoothl1.smooth_l1_loss(x, x, weight=x)
        else:
            smoothl1.smooth_l1_loss(x, x, weight=x)


@linux
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="Python is asked")
def test_a_plain_environment_is_known_to_the_core(monkeypatch):
    for setting in ("", "1", "16", "999999999"):
        monkeypatch.setenv("SMOOTHL1_NUM_THREADS", setting)
        assert core.is_environment_plain()
    monkeypatch.delenv("SMOOTHL1_NUM_THREADS")
    assert core.is_environment_plain()


FIRST_USE = """
import numpy as np, smoothl1
from smoothl1 import compat
x = np.ones(3)
single = x.astype(np.float32)
for name, call in {
    "loss": lambda **more: smoothl1.smooth_l1_loss(x, x, **more),
    "loss of each": lambda **more: smoothl1.smooth_l1_loss(x, x, "none", **more),
    "huber loss": lambda **more: smoothl1.huber_loss(single, single, **more),
    "grad": lambda **more: smoothl1.smooth_l1_grad(x, x, **more),
    "huber grad": lambda **more: smoothl1.huber_grad(x, x, out=np.empty(3), **more),
    "both": lambda **more: smoothl1.smooth_l1_value_and_grad(x, x, **more),
    "huber both": lambda **more: smoothl1.huber_value_and_grad(x, x, "sum", **more),
    "hessian": lambda **more: smoothl1.smooth_l1_grad_hess(x, x, **more),
    "path": lambda **more: smoothl1.smooth_l1_path(x, x, [1.0, 2.0], **more),
    "weight": lambda **more: smoothl1.smooth_l1_loss(x, x, weight=x, **more),
    "large": lambda **more: smoothl1.smooth_l1_loss(np.ones(10**6), np.ones(10**6), **more),
    "object": lambda **more: smoothl1.SmoothL1Loss()(x, x),
    "slope": lambda **more: smoothl1.HuberLoss().backward(x, x),
    "location": lambda **more: smoothl1.huber_location(x, 1.0),
    "torch": lambda **more: compat.torch_smooth_l1_loss(x, x),
    "number": lambda **more: smoothl1.get_num_threads(),
    "config": lambda **more: smoothl1.show_config("dicts"),
}.items():
    for more in ({}, {"n_threads": 2}):
        try:
            call(**more)
        except ValueError as error:
            print(error)
        else:
            assert more, name
    with smoothl1.num_threads(1):
        call()
"""


@pytest.mark.parametrize("setting", ["abc", "0", "-1", "3000000000"])
def test_bad_environment_from_the_start(setting):
    """The import works; each function fails at its first call, with the same words."""
    lines = run(FIRST_USE, SMOOTHL1_NUM_THREADS=setting).splitlines()
    assert set(lines) == {bad_setting(setting)}
    assert len(lines) == 17 + 6


def test_context_is_left_on_errors_and_reused():
    context = smoothl1.num_threads(3)
    with pytest.raises(KeyError), context:
        raise KeyError
    with context, context:
        assert smoothl1.get_num_threads() == 3
    assert repr(context) == "num_threads(3)"
    assert _threads.requested() is None


def test_one_context_in_two_threads():
    """They enter and leave it in any order."""
    context = smoothl1.num_threads(3)
    entered, left = threading.Event(), threading.Event()
    seen = []

    def work():
        with context:
            entered.set()
            assert left.wait(60)
            seen.append(smoothl1.get_num_threads())
        seen.append(_threads.requested())

    thread = threading.Thread(target=work)
    with context:
        thread.start()
        assert entered.wait(60)
    left.set()
    thread.join()
    assert seen == [3, None]
    assert _threads.requested() is None


def test_set_num_threads_is_of_the_process():
    thread = threading.Thread(target=smoothl1.set_num_threads, args=(5,))
    thread.start()
    thread.join()
    assert smoothl1.get_num_threads() == 5


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


def test_generators_need_not_nest():
    def generator(n):
        with smoothl1.num_threads(n):
            yield n
            assert smoothl1.get_num_threads() == seen

    outer, seen = generator(7), 5
    next(outer)
    with smoothl1.num_threads(5):
        assert list(outer) == []
        assert smoothl1.get_num_threads() == 5
    assert _threads.requested() is None

    first, second, third = generator(2), generator(3), generator(4)
    for block in (first, second, third):
        next(block)
    seen = 4
    assert smoothl1.get_num_threads() == 4
    assert list(second) == []
    assert smoothl1.get_num_threads() == 4
    third.close()
    assert smoothl1.get_num_threads() == 2
    first.close()
    assert _threads.requested() is None


@pytest.mark.parametrize("seed", range(20))
def test_blocks_that_end_in_any_order(seed):
    """The number is that of the last one that was entered and not left."""
    rng = random.Random(seed)
    entered = []
    contexts = [smoothl1.num_threads(n) for n in range(1, 6)]
    for _ in range(200):
        if entered and rng.random() < 0.5:
            context = entered[rng.randrange(len(entered))]
            # One object entered twice cannot tell which of the two is left: the inner one.
            last = max(i for i, other in enumerate(entered) if other is context)
            entered.pop(last)
            context.__exit__(None, None, None)
        else:
            entered.append(rng.choice(contexts))
            entered[-1].__enter__()
        expected = int(repr(entered[-1])[12:-1]) if entered else None
        assert _threads.requested() == expected
        assert _threads.in_block() == bool(entered)
    for context in entered:
        context.__exit__(None, None, None)
    assert _threads.requested() is None
    with pytest.raises(RuntimeError, match=r"num_threads\(1\) is left without having been entered"):
        contexts[0].__exit__(None, None, None)


def test_blocks_that_are_left_are_forgotten():
    """Also where one is always entered before the other is left, for ever."""
    before = smoothl1.num_threads(2)
    before.__enter__()
    first = weakref.ref(before)
    for n in range(1, 1000):
        after = smoothl1.num_threads(n)
        after.__enter__()
        before.__exit__(None, None, None)
        before = after
    gc.collect()
    assert first() is None
    # The one that counts, and what it found.
    # By type: isinstance asks objects of others for attributes, some of which warn.
    alive = sum(type(thing) is _threads._Block for thing in gc.get_objects())
    before.__exit__(None, None, None)
    assert alive <= 2
    assert _threads.requested() is None


def test_a_block_that_another_thread_leaves():
    def generator():
        with smoothl1.num_threads(7):
            yield

    block = generator()
    next(block)
    seen = []

    def leave():
        with smoothl1.num_threads(3):
            block.close()
            seen.append(smoothl1.get_num_threads())
        seen.append(_threads.requested())

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert seen == [3, None]
    assert _threads.requested() is None


def test_blocks_and_copies_of_contexts():
    copied = contextvars.copy_context()
    context = smoothl1.num_threads(4)
    copied.run(context.__enter__)
    assert _threads.requested() is None
    with smoothl1.num_threads(2):
        inherited = contextvars.copy_context()
        context.__exit__(None, None, None)  # which was entered in the other
        assert _threads.requested() == 2
    assert copied.run(_threads.requested) is None
    assert inherited.run(_threads.requested) == 2  # as tasks made within a block


def test_async_generators_and_tasks():
    async def stream(n):
        with smoothl1.num_threads(n):
            for _ in range(3):
                await asyncio.sleep(0)
                yield smoothl1.get_num_threads()

    async def consume(n):
        one, other = stream(n), stream(n + 1)
        with smoothl1.num_threads(n + 2):
            assert [await anext(one), await anext(other)] == [n, n + 1]
            assert await anext(one) == n + 1  # the last that was entered
            await one.aclose()
            assert smoothl1.get_num_threads() == n + 1
        await other.aclose()
        return _threads.requested()

    async def main():
        assert await asyncio.gather(*(consume(n) for n in range(1, 20, 3))) == [None] * 7
        left = stream(9)
        await anext(left)
        # Another task ends it, as the event loop does with those that are forgotten.
        await asyncio.create_task(left.aclose())
        return _threads.requested()

    assert asyncio.run(main()) is None


def test_blocks_can_be_copied_and_pickled():
    context = smoothl1.num_threads(3)
    with context:
        for other in (pickle.loads(pickle.dumps(context)), copy.deepcopy(context)):
            with other:
                assert smoothl1.get_num_threads() == 3
    assert _threads.requested() is None


TEAM = """
import numpy as np, smoothl1, os
x = np.ones(10**6, np.float32)
before = len(os.listdir("/proc/self/task"))
{call}
print(len(os.listdir("/proc/self/task")) - before + 1)
"""


@openmp
@linux
@pytest.mark.parametrize(
    ("call", "environment", "threads"),
    [
        # Each against the next of the precedence.
        (
            "with smoothl1.num_threads(2): smoothl1.smooth_l1_loss(x, x, n_threads=3)",
            {},
            3,
        ),
        (
            "smoothl1.set_num_threads(2)\n"
            "with smoothl1.num_threads(3): smoothl1.smooth_l1_loss(x, x)",
            {},
            3,
        ),
        (
            "smoothl1.set_num_threads(3); smoothl1.smooth_l1_loss(x, x)",
            {"SMOOTHL1_NUM_THREADS": "2"},
            3,
        ),
        ("smoothl1.smooth_l1_loss(x, x)", {"SMOOTHL1_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, 3),
        # Of OpenMP's own number no more than there are processors.
        ("smoothl1.smooth_l1_loss(x, x)", {"OMP_NUM_THREADS": "64"}, min(PROCESSORS, 31)),
        ("smoothl1.smooth_l1_loss(x, x)", {"OMP_NUM_THREADS": "64,2"}, min(PROCESSORS, 31)),
        # The runtime may give fewer than it is asked for.
        ("smoothl1.smooth_l1_loss(x, x, n_threads=4)", {"OMP_THREAD_LIMIT": "2"}, 2),
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
            max(16, PROCESSORS),
        ),
        # Too little work for a team.
        ("smoothl1.smooth_l1_loss(x[:1000], x[:1000], n_threads=8)", {}, 1),
    ],
)
def test_threads_that_run(call, environment, threads):
    assert int(run(TEAM.format(call=call), **environment)) == threads


@openmp
def test_threadpoolctl_is_obeyed():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = smoothl1.get_num_threads()
    with threadpoolctl.threadpool_limits(1):
        assert smoothl1.get_num_threads() == 1
        with smoothl1.num_threads(3):  # what was asked of this library comes first
            assert smoothl1.get_num_threads() == 3
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert smoothl1.get_num_threads() == 1
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert smoothl1.get_num_threads() == before
    assert smoothl1.get_num_threads() == before


@openmp
def test_the_runtime_gives_fewer_threads():
    """Scratch, tasks and bits do not depend on how many it gives."""
    code = """
        import numpy as np, smoothl1
        x = np.linspace(-3, 3, 10**6)
        print(smoothl1.smooth_l1_loss(x, 0 * x, n_threads=8).hex())
        print(smoothl1.smooth_l1_loss(x[::2], 0 * x[::2], n_threads=8).hex())
    """
    settings = [
        {},
        {"OMP_THREAD_LIMIT": "1"},
        {"OMP_THREAD_LIMIT": "3"},
        {"OMP_DYNAMIC": "true"},
        {"OMP_MAX_ACTIVE_LEVELS": "0"},
        {"OMP_WAIT_POLICY": "active"},
        {"OMP_PROC_BIND": "true"},
    ]
    assert len({run(code, **setting) for setting in settings}) == 1


@openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_default_is_capped_by_affinity():
    code = """
        import os, smoothl1
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(smoothl1.get_num_threads())
    """
    assert run(code, OMP_NUM_THREADS="4") == "1"


AFFINITY = """
    import os, time
    import numpy as np
    import smoothl1
    x = np.ones(10**6, np.float32)
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    tasks = [len(os.listdir("/proc/self/task"))]
    for allowed in ({min(processors)}, processors):
        os.sched_setaffinity(0, allowed)
        limit = smoothl1.get_num_threads()  # of this very moment
        time.sleep(0.01)
        smoothl1.smooth_l1_loss(x, x)
        tasks.append(len(os.listdir("/proc/self/task")))
        print(limit, tasks[-1] - tasks[0] + 1)
"""


@openmp
@linux
@pytest.mark.skipif(PROCESSORS < 2, reason="needs two processors")
def test_calls_learn_of_another_affinity_soon():
    assert run(AFFINITY, OMP_NUM_THREADS="2") == "1 1\n2 2"


def fake_cgroup(tmp_path, monkeypatch, lines, files):
    """Redirect the paths that are looked at to a folder of the test's."""
    real = _cgroups.Path

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
    monkeypatch.setattr(_cgroups, "Path", redirected)
    return _cgroups.cpu_quota.__wrapped__()


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


SHARE = """
    import contextlib, os, threading, time
    import numpy as np
    import smoothl1
    huge = np.broadcast_to(1.5, (10**13,))
    x = np.ones(10**6)
    for _ in range({others}):
        threading.Thread(
            target=smoothl1.smooth_l1_loss, args=(huge, huge), kwargs=dict(n_threads=1), daemon=True
        ).start()
    time.sleep(0.5)  # they are under way
    before = len(os.listdir("/proc/self/task"))
    with {block}:
        smoothl1.smooth_l1_loss(x, x, n_threads={n_threads})
    print(len(os.listdir("/proc/self/task")) - before + 1, flush=True)
    os._exit(0)
"""


@openmp
@linux
@pytest.mark.parametrize(
    ("others", "n_threads", "block", "threads"),
    [
        (0, None, "contextlib.nullcontext()", 6),
        (1, None, "contextlib.nullcontext()", 3),
        (3, None, "contextlib.nullcontext()", 1),
        (8, None, "contextlib.nullcontext()", 1),
        # A limit of one's own is not shared.
        (3, 6, "contextlib.nullcontext()", 6),
        (3, None, "smoothl1.num_threads(6)", 6),
    ],
)
def test_calls_under_way_share_the_limit_of_the_process(others, n_threads, block, threads):
    code = SHARE.format(others=others, n_threads=n_threads, block=block)
    assert int(run(code, SMOOTHL1_NUM_THREADS="6")) == threads


@openmp
@linux
def test_threads_end_with_their_caller():
    """Each Python thread that calls has workers of its own, which do not outlive it."""
    code = """
        import os, threading
        import numpy as np
        import smoothl1
        x = np.ones(10**6)
        tasks = lambda: len(os.listdir("/proc/self/task"))
        before = tasks()
        call = lambda: smoothl1.smooth_l1_loss(x, x, n_threads=4)
        for _ in range(50):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
        print(tasks() - before < 10)
    """
    assert run(code) == "True"


@openmp
@linux
def test_within_a_parallel_region_of_another_library(tmp_path):
    """A call from a thread of a team runs on that thread alone, with the same bits."""
    code = f"""
        import ctypes, os
        import numpy as np
        import smoothl1
        library = ctypes.CDLL({str(openmp_library(tmp_path))!r})
        x = np.linspace(-3, 3, 10**6)
        serial = smoothl1.smooth_l1_loss(x, 0 * x, n_threads=1)
        found, tasks = [], []

        @ctypes.CFUNCTYPE(None)
        def call():
            found.append(smoothl1.smooth_l1_loss(x, 0 * x, n_threads=4))
            tasks.append(len(os.listdir("/proc/self/task")))

        before = len(os.listdir("/proc/self/task"))
        assert library.team(3, call) == 3
        print(found == [serial] * 3, max(tasks) - before)
    """
    assert run(code) == "True 2"


def loss_of(x):
    return smoothl1.smooth_l1_loss(x, 0 * x)


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_dask_workers(scheduler):
    dask = pytest.importorskip("dask")
    x = np.linspace(-3, 3, 300_000)
    with dask.config.set(scheduler=scheduler, num_workers=4):
        found = dask.compute(*(dask.delayed(loss_of)(x) for _ in range(32)))
    assert set(found) == {loss_of(x)}


def test_joblib_threads():
    joblib = pytest.importorskip("joblib")
    x = np.linspace(-3, 3, 300_000)
    with joblib.parallel_config(backend="threading", n_jobs=4):
        found = joblib.Parallel()(joblib.delayed(loss_of)(x) for _ in range(32))
    assert set(found) == {loss_of(x)}


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
    assert run(DEBT) == "1 True True"


SLOW = """
    import os, time
    import numpy as np
    import smoothl1
    from smoothl1._simd import core
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # two threads, one processor
    x, y = np.linspace(-3, 3, 10**5), np.zeros(10**5)
    losses = {smoothl1.smooth_l1_loss(x, y, n_threads=1)}
    begun = time.perf_counter()
    charged = []  # how many times over
    while len(charged) < 2 or max(charged) < 4 and time.perf_counter() < begun + 60:
        start = time.perf_counter()
        losses.add(smoothl1.smooth_l1_loss(x, y, n_threads=2))
        if core.team_debt() > 0:
            charged.append(core.team_debt() / (time.perf_counter() - start))
            core.team_debt(0.0)
    print(charged[0] <= 2, max(charged) >= 4, len(losses))
"""


@openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_slow_team_is_charged():
    """A team that waits for a thread without a processor owes what that took, the more often so.

    The first is repaid twice, those that follow it eight times: of a call as a whole, over four.
    """
    assert run(SLOW) == "True True 1"
