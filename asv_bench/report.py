"""Print the goals of speed, each with the ratio that is measured here, as Markdown.

Both sides of a ratio run in one process, in turn, and the shortest time of each counts. Every
instruction set takes a process of its own: ``SMOOTHL1_SIMD`` is read at import.

    python asv_bench/report.py                      # every row, both instruction sets and betas
    python asv_bench/report.py --rows limit call    # some
    python asv_bench/report.py --simd avx2 --threads 1 --beta 0.7
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def turns(calls, repeats, inner=1):
    """Return the shortest time of each call, in seconds; they run in turn.

    Between two of them is a pause: the threads of an OpenMP runtime (PyTorch and numba bring
    their own) spin for milliseconds after their work and would keep a processor from the next.
    Then a call runs untimed until its own threads are awake.
    """
    best = [math.inf] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            time.sleep(0.005)
            start = time.perf_counter()
            while time.perf_counter() - start < 0.002:
                call()
            start = time.perf_counter()
            for _ in range(inner):
                call()
            best[i] = min(best[i], (time.perf_counter() - start) / inner)
    return best


def repeats_for(n):
    """Enough repetitions, and enough calls in each that the clock does not count."""
    return (9 if n >= 2**22 else 30), max(2, min(2000, 2**20 // n))


# Goals of a ratio to a bare loop, by instruction set, beta (None: any) and dtype.
def limit_goals(what, size, beta, dtype):
    """Return the goal for the mean, "none" or value and gradient of 2**size elements."""
    from smoothl1._simd import chosen

    quick = chosen == "avx512"
    if what == "mean":
        if size == 24:
            return 1.05 if quick else 1.1
        if size == 20:
            return 1.05
        if quick:
            return 1.15 if dtype == "float32" else 1.25
        at_one, other = (1.45, 1.9) if dtype == "float32" else (1.55, 2.1)
        return at_one if beta == 1 else other
    if size == 24:
        return 0.85 if quick else 0.9
    if size == 20:
        return 1.05 if quick or what == "none" else 1.1
    if what == "none":
        return 1.3 if quick else 1.6
    return 1.2 if quick else 1.9


def measure_call():
    """Compare calls on ten elements with NumPy's addition of the same."""
    import numpy as np

    import smoothl1

    x, y = np.linspace(-3, 3, 10, dtype=np.float32), np.zeros(10, np.float32)
    loss = smoothl1.SmoothL1Loss()
    calls = {
        "mean": (0.8, lambda: smoothl1.smooth_l1_loss(x, y)),
        "keywords": (1.2, lambda: smoothl1.smooth_l1_loss(x, y, reduction="sum", beta=0.5)),
        "object": (1.5, lambda: loss(x, y)),
        "none": (0.85, lambda: smoothl1.smooth_l1_loss(x, y, "none")),
        "value and gradient": (1.1, lambda: smoothl1.smooth_l1_value_and_grad(x, y)),
    }
    times = turns([lambda: np.add(x, y), *(call for _, call in calls.values())], 40, 5000)
    for (name, (goal, _)), ours in zip(calls.items(), times[1:], strict=True):
        yield f"{name}, 10 elements", "np.add", goal, ours / times[0]


def measure_limit(dtype, threads, beta):
    """Reductions and elementwise results over a bare C loop that moves the same bytes."""
    from benchmarks import probe
    from benchmarks.common import arrays

    import smoothl1

    for power in (24, 20, 16):
        n = 2**power
        x, y, out = arrays(n, dtype, 3)
        rounds, inner = repeats_for(n)
        with smoothl1.num_threads(threads):
            calls = [
                lambda x=x, y=y: smoothl1.smooth_l1_loss(x, y, beta=beta),
                lambda x=x, y=y, out=out: smoothl1.smooth_l1_loss(x, y, "none", beta, out=out),
                lambda x=x, y=y, out=out: smoothl1.smooth_l1_value_and_grad(
                    x, y, beta=beta, out=out
                ),
            ]
            best = [math.inf] * 5
            for _ in range(rounds):
                best[:3] = map(min, best[:3], turns(calls, 1, inner))
                best[3] = min(best[3], probe.read(x, y, threads, 1, inner))
                best[4] = min(best[4], probe.read_and_write(x, y, out, threads, 1, inner))
        ratios = {
            "mean": best[0] / best[3],
            "none": best[1] / best[4],
            "value and gradient": best[2] / best[4],
        }
        for what, ratio in ratios.items():
            goal = limit_goals(what, power, beta, dtype)
            yield f"{what}, n = 2^{power}", "bare loop", goal, ratio


def measure_layouts(dtype, threads, beta):
    """Means of arrays that are not plain, per byte that memory must deliver."""
    import numpy as np
    from benchmarks.common import arrays

    import smoothl1

    n = 2**22
    x, y = arrays(n, dtype)
    other = np.float64 if dtype == "float32" else np.float32
    columns = [np.stack([a, a], axis=1)[:, 0] for a in (x, y)]
    rows = x.reshape(-1, 4), y.reshape(-1, 4)
    row = np.broadcast_to(y[:1024], (n // 1024, 1024))
    wide = y.astype(other)
    mixed = (1 + np.dtype(other).itemsize / x.itemsize) / 2
    cases = {  # bytes beside those of the contiguous case
        "column of (n, 2)": (2.0, lambda: smoothl1.smooth_l1_loss(*columns, beta=beta)),
        f"{dtype} with {np.dtype(other)}": (
            mixed,
            lambda: smoothl1.smooth_l1_loss(x, wide, beta=beta),
        ),
        "broadcast row": (
            0.5,
            lambda: smoothl1.smooth_l1_loss(x.reshape(-1, 1024), row, beta=beta),
        ),
        "axis=-1 of (n, 4)": (
            1.125,
            lambda: smoothl1.smooth_l1_loss(*rows, beta=beta, axis=-1),
        ),
        "axis=0 of (n, 4)": (1.0, lambda: smoothl1.smooth_l1_loss(*rows, beta=beta, axis=0)),
    }
    with smoothl1.num_threads(threads):
        plain = lambda: smoothl1.smooth_l1_loss(x, y, beta=beta)  # noqa: E731
        times = turns([plain, *(call for _, call in cases.values())], 20)
    for (name, (size, _)), ours in zip(cases.items(), times[1:], strict=True):
        yield f"{name}, per byte", "contiguous", 2.0, ours / times[0] / size


def measure_options(dtype, threads, beta):
    """Options, per byte beside the plain mean; a path of four betas over one beta."""
    import numpy as np
    from benchmarks.common import arrays

    import smoothl1

    n = 2**24
    x, y, w = arrays(n, dtype, 3)
    np.abs(w, out=w)
    mask = w > 0.5
    betas = [beta / 4, beta / 2, beta, 2 * beta]
    with smoothl1.num_threads(threads):
        times = turns(
            [
                lambda: smoothl1.smooth_l1_loss(x, y, beta=beta),
                lambda: smoothl1.smooth_l1_loss(x, y, beta=beta, weight=w),
                lambda: smoothl1.smooth_l1_loss(x, y, beta=beta, where=mask),
                lambda: smoothl1.smooth_l1_loss(x, y, beta=w),
                lambda: smoothl1.smooth_l1_path(x, y, betas),
                lambda: smoothl1.smooth_l1_path(x, y, betas[2:3]),
            ],
            9,
        )
    from smoothl1._simd import chosen

    goals = (1.05, 1.1, 1.5, 1.6) if chosen == "avx512" else (1.1, 1.2, 1.6, 2.2)
    yield "weight, per byte", "plain mean", goals[0], times[1] / times[0] / 1.5
    yield "where, per byte", "plain mean", goals[1], times[2] / times[0] / (1 + 0.5 / x.itemsize)
    yield "array beta, per byte", "plain mean", goals[2], times[3] / times[0] / 1.5
    yield "path of 4 betas", "1 beta", goals[3], times[4] / times[5]


def measure_peers(dtype, threads, beta):
    """PyTorch and numba at every size from 10 to 10^7; those not installed are left out."""
    from benchmarks import peers
    from benchmarks.common import arrays

    import smoothl1

    try:
        import torch
    except ImportError:
        torch = None
    sizes = [10**k for k in range(1, 8)]
    ratios = {"numba": [], "torch": [], "none": [], "both": []}
    with smoothl1.num_threads(threads):
        for n in sizes:
            x, y = arrays(n, dtype)
            calls = {"ours": lambda x=x, y=y: smoothl1.smooth_l1_loss(x, y, beta=beta)}
            for name in ("numba", "torch"):
                try:
                    calls[name] = peers.prepare(name, x, y, beta=beta)
                except NotImplementedError:
                    ratios.pop(name, None)
            if torch is not None:
                u, v = torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)
                plain = u.detach()
                calls["torch none"] = lambda u=plain, v=v: torch.nn.functional.smooth_l1_loss(
                    u, v, reduction="none", beta=beta
                )
                calls["torch both"] = lambda u=u, v=v: (
                    setattr(u, "grad", None),
                    torch.nn.functional.smooth_l1_loss(u, v, beta=beta).backward(),
                )
                calls["none"] = lambda x=x, y=y: smoothl1.smooth_l1_loss(x, y, "none", beta)
                calls["both"] = lambda x=x, y=y: smoothl1.smooth_l1_value_and_grad(x, y, beta=beta)
            rounds, inner = repeats_for(n)
            found = turns(list(calls.values()), rounds, min(inner, 500))
            times = dict(zip(calls, found, strict=True))
            for name in ("numba", "torch"):
                if name in times:
                    ratios[name].append(times["ours"] / times[name])
            if torch is not None:
                ratios["none"].append(times["none"] / times["torch none"])
                ratios["both"].append(times["both"] / times["torch both"])
    at = {10**6: "10^6"}
    from smoothl1._simd import chosen

    quick = chosen == "avx512"
    kinds = {
        "torch": ("mean", "PyTorch", 0.4 if quick else 0.5, 0.7),
        "none": ("none, fresh", "PyTorch", 0.75 if quick else 0.8, 1.0),
        "both": ("value and gradient, fresh", "PyTorch", 0.25 if quick else 0.3, 0.35),
        "numba": ("mean", "numba", *((1.05, 1.05) if quick else (1.2, 1.2))),
    }
    for key, (name, peer, goal, goal_million) in kinds.items():
        if not ratios.get(key):
            continue
        by_size = dict(zip(sizes, ratios[key], strict=True))
        million = by_size.pop(10**6)
        worst = max(by_size, key=by_size.__getitem__)
        yield f"{name}, worst n (10^{round(math.log10(worst))})", peer, goal, by_size[worst]
        yield f"{name}, {at[10**6]}", peer, goal_million, million
        if key == "torch":
            mean = math.exp(sum(map(math.log, ratios[key])) / len(sizes))
            yield f"{name}, geometric mean", peer, 0.25, mean


def measure_ufuncs():
    """Compare ufuncs with NumPy's, with the function on one thread, and with SciPy's ufunc."""
    import numpy as np
    from benchmarks.common import arrays

    import smoothl1
    from smoothl1.ufuncs import huber, smooth_l1

    for dtype in ("float32", "float64"):
        x, y, out = arrays(10, dtype, 3)
        beta = np.array(1.0, dtype)
        calls = [
            lambda x=x, y=y: np.add(x, y),
            lambda x=x, y=y, beta=beta: smooth_l1(x, y, beta),
            lambda x=x, y=y: smooth_l1(x, y, y),
            lambda x=x: np.add(x, 1.0),
            lambda x=x, y=y: smooth_l1(x, y, 1.0),
        ]
        add, one, each, add_number, number = turns(calls, 40, 5000)
        yield f"ufunc, 10 elements, {dtype}, beta 0-d", "np.add", 1.5, one / add
        yield f"ufunc, 10 elements, {dtype}, beta for each", "np.add", 1.5, each / add
        name = f"ufunc, 10 elements, {dtype}, beta a Python number"
        yield name, "np.add of one, too", 1.5, number / add_number

        x, y, out = arrays(2**20, dtype, 3)
        calls = [
            lambda x=x, y=y, out=out: smoothl1.smooth_l1_loss(
                x, y, "none", 0.37, out=out, n_threads=1
            ),
            lambda x=x, y=y, out=out: smooth_l1(x, y, 0.37, out=out),
        ]
        function, ufunc = turns(calls, *repeats_for(2**20))
        yield f"ufunc, n = 2^20, {dtype}", "function, one thread", 1.1, ufunc / function

        try:
            from scipy.special import huber as peer
        except ImportError:
            continue
        x, y = arrays(10**5, dtype)
        calls = [lambda x=x, y=y: peer(1.0, x - y), lambda x=x, y=y: huber(x, y, 1.0)]
        scipy, ufunc = turns(calls, *repeats_for(10**5))
        yield f"huber, n = 10^5, {dtype}", "scipy.special.huber", 0.1, ufunc / scipy


def measure_busy():
    """Compare the mean time of calls while other processes keep every processor busy."""
    from benchmarks.threads import busy_ratio

    for n in (4096, 2**16, 10**6):
        yield f"mean time on a busy machine, n = {n}", "n_threads=1", 6.0, busy_ratio(n)


MEASURES = {
    "call": measure_call,
    "limit": measure_limit,
    "layouts": measure_layouts,
    "options": measure_options,
    "peers": measure_peers,
    "ufuncs": measure_ufuncs,
    "busy": measure_busy,
}


def measure(rows, threads, betas):
    """Return (row, what, against, goal, ratio, setting) of this process's instruction set."""
    from smoothl1._simd import chosen

    for row in rows:
        if row in ("call", "ufuncs", "busy"):
            settings = [()]
        else:
            settings = [
                (dtype, n, beta)
                for dtype in ("float32", "float64")
                for n in threads
                for beta in betas
            ]
        for setting in settings:
            for what, against, goal, ratio in MEASURES[row](*setting):
                yield {
                    "row": row,
                    "what": what,
                    "against": against,
                    "goal": goal,
                    "ratio": ratio,
                    "setting": ", ".join([chosen, *(map(str, setting))]),
                }


def table(results):
    """Return the Markdown table: one line for each goal, one column for each setting."""
    lines = []
    for row in dict.fromkeys(result["row"] for result in results):
        found = [result for result in results if result["row"] == row]
        settings = list(dict.fromkeys(result["setting"] for result in found))
        lines.append(f"| what | against | goal | {' | '.join(settings)} |")
        lines.append("|" + " --- |" * (3 + len(settings)))
        groups = {}
        for result in found:
            key = (result["what"].split(" (10^")[0], result["against"])
            groups.setdefault(key, {})[result["setting"]] = result
        for (what, against), cells in groups.items():
            goals = sorted({f"{result['goal']:.2f}" for result in cells.values()})
            shown = []
            for setting in settings:
                result = cells.get(setting)
                if result is None:
                    shown.append("")
                    continue
                note = result["what"][len(what) :]
                missed = "" if result["ratio"] <= result["goal"] else " ✗"
                shown.append(f"{result['ratio']:.2f}{note}{missed}")
            lines.append(f"| {what} | {against} | ≤ {', '.join(goals)} | {' | '.join(shown)} |")
        lines.append("")
    return "\n".join(lines)


def processor():
    """Return what the processor calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = dict(
        (part.strip() for part in line.split(":", 1)) for line in text.splitlines() if ":" in line
    )
    family = f"family {found.get('cpu family')}, model {found.get('model')}"
    return f"{found.get('model name', 'unknown')} ({family})"


def main():
    """Measure in a process for each instruction set, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--simd", nargs="+", help="instruction sets; avx512 and avx2 if possible")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--beta", nargs="+", type=float, default=[1.0, 0.7])
    parser.add_argument("--json", type=Path, help="also write the ratios here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        for result in measure(options.rows, options.threads, options.beta):
            print(json.dumps(result), flush=True)
        return
    if options.simd is None:
        from smoothl1._simd import supported

        options.simd = [name for name in ("avx512", "avx2") if name in supported()] or ["baseline"]
    results = []
    for simd in options.simd:
        command = [sys.executable, __file__, "--worker", "--rows", *options.rows]
        command += ["--threads", *map(str, options.threads)]
        command += ["--beta", *map(str, options.beta)]
        environment = {**os.environ, "SMOOTHL1_SIMD": simd}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"measuring {simd} failed")
        results += map(json.loads, done.stdout.splitlines())
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{processor()}\n")
    print(table(results))


if __name__ == "__main__":
    main()
