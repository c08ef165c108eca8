"""How far sums are from the exact ones: the table of docs/accuracy.md.

    python asv_bench/accuracy.py [--draws 300]

Units in the last place of the result, the largest of many draws, against the exact loss of the
rounded differences, summed in longdouble (which must be wider than float64: x86). The error of a
sum does not depend on the instruction set, the machine or the number of threads.
"""

import argparse

import numpy as np

from smoothl1 import smooth_l1_loss

BETAS = (1.0, 0.7)
SIZES = (7, 63, 64, 128, 512, 1000, 1024, 2048, 10_000)


CLASSES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random(n),
    "lognormal": lambda rng, n: np.exp(rng.standard_normal(n)),
    "exp(2 N)": lambda rng, n: np.exp(2 * rng.standard_normal(n)),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "Pareto 0.5": lambda rng, n: rng.pareto(0.5, n),
    "constant": lambda rng, n: np.full(n, 2 * rng.random()),
    "a, b, a, b": lambda rng, n: np.resize(2 * rng.random(2), n),
    "a, b, c": lambda rng, n: np.resize(2 * rng.random(3), n),
}


def exact_sum(z, beta):
    wide = z.astype(np.longdouble)
    b = np.longdouble(z.dtype.type(beta))
    return np.sort(np.where(wide < b, wide * wide / (2 * b), wide - b / 2)).sum()


def error(z, beta):
    """Ulps of the sum of one sample."""
    exact = exact_sum(z, beta)
    got = np.longdouble(smooth_l1_loss(z, z.dtype.type(0), "sum", beta))
    if exact == 0:
        return 0.0 if got == 0 else np.inf
    spacing = np.ldexp(np.longdouble(1), np.frexp(exact)[1] - 1 - np.finfo(z.dtype).nmant)
    return float(abs(got - exact) / spacing)


def worst(make, dtype, beta, n, draws, rng):
    return max(error(np.abs(make(rng, n)).astype(dtype), beta) for _ in range(draws))


def at_the_threshold(dtype, n, draws, rng):
    """Residuals that all equal the threshold, of any mantissa."""
    errors = []
    for _ in range(draws):
        beta = float(dtype(rng.uniform(0.5, 4)))
        errors.append(error(np.full(n, beta, dtype), beta))
    return max(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=300)
    draws = parser.parse_args().draws
    rng = np.random.default_rng(0)
    print(
        "| residuals | dtype | beta | "
        + " | ".join(f"{n:,}".replace(",", " ") for n in SIZES)
        + " |"
    )
    print("| --- | --- | --- |" + " --- |" * len(SIZES))
    for name, make in CLASSES.items():
        for dtype in (np.float32, np.float64):
            for beta in BETAS:
                row = [worst(make, dtype, beta, n, draws, rng) for n in SIZES]
                print(f"| {name} | {dtype.__name__} | {beta} | ", end="")
                print(" | ".join(f"{e:.2f}" for e in row) + " |", flush=True)
    for dtype in (np.float32, np.float64):
        row = [at_the_threshold(dtype, n, draws, rng) for n in SIZES]
        print(f"| beta itself | {dtype.__name__} | any | ", end="")
        print(" | ".join(f"{e:.2f}" for e in row) + " |", flush=True)


if __name__ == "__main__":
    main()
