"""Training a network: the Smooth L1 loss of this package, and PyTorch's own.

An autoencoder learns to restore patches of photographs (the two of scikit-learn, cut into 8480
patches of 8 x 8 pixels in three colours) of which a fifth of the values are the darkest or the
brightest by mistake, in what it sees and in what it is to restore: a loss that is linear far away
hardly lets it learn the mistakes. All patches make one batch, whose loss has 1.6 million elements
behind a small network: a case where the loss takes a good part of a step. Everything runs on one
thread.

The two runs start from the same weights and take their steps in turn. The picture shows the loss
over the wall time of each, and what the loss, forward and backward, takes of a step.

python docs/examples/training.py [PICTURE]
"""

import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images

try:
    import torch
except ImportError:
    raise SystemExit("this example needs PyTorch: pip install 'smoothl1[torch]'") from None

import smoothl1.torch

STEPS = 120
BETA = 0.1
LOSSES = {"smoothl1.torch": smoothl1.torch.SmoothL1Loss, "torch.nn": torch.nn.SmoothL1Loss}


def patches():
    """Return the patches, and two copies with mistakes, as tensors of values from 0 to 1."""
    pictures = np.array(load_sample_images().images, np.float32)[:, :424] / 255
    side = 8
    cut = pictures.reshape(2, 424 // side, side, 640 // side, side, 3).swapaxes(2, 3)
    clean = np.ascontiguousarray(cut).reshape(-1, side * side * 3)
    rng = np.random.default_rng(0)
    copies = [
        np.where(rng.random(clean.shape) < 0.2, rng.integers(0, 2, clean.shape), clean)
        for _ in range(2)
    ]
    return [torch.from_numpy(a.astype(np.float32)) for a in (clean, *copies)]


class Run:
    """A network, its optimiser and its loss; what each step took."""

    def __init__(self, loss):
        torch.manual_seed(0)
        self.network = torch.nn.Sequential(
            torch.nn.Linear(192, 24), torch.nn.ReLU(), torch.nn.Linear(24, 192)
        )
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.01)
        self.loss = loss(beta=BETA)
        self.losses, self.seconds, self.in_loss = [], [], []

    def step(self, input, target):
        """Take a step of the optimiser."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        output = self.network(input)
        # Cut from the network, so that the loss can be timed alone, in both directions.
        leaf = output.detach().requires_grad_()
        before = time.perf_counter()
        loss = self.loss(leaf, target)
        loss.backward()
        after = time.perf_counter()
        output.backward(leaf.grad)
        self.optimizer.step()
        self.losses.append(loss.item())
        self.seconds.append(time.perf_counter() - start)
        self.in_loss.append(after - before)


def train():
    """Return the runs by name, and print what they came to."""
    clean, seen, wanted = patches()
    runs = {name: Run(loss) for name, loss in LOSSES.items()}
    for _ in range(STEPS):
        for run in runs.values():
            run.step(seen, wanted)
    for name, run in runs.items():
        with torch.no_grad():
            error = (run.network(seen) - clean).abs().mean().item()
        milliseconds = 1e3 * np.array([np.sum(run.seconds), np.median(run.in_loss)])
        print(
            f"{name}: loss {run.losses[-1]:.6f}, mean absolute error of clean values {error:.4f}, "
            f"{milliseconds[0]:.0f} ms for {STEPS} steps, {milliseconds[1]:.3f} ms a loss"
        )
    return runs


def main():
    """Train, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    torch.set_num_threads(1)
    runs = train()
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, run in runs.items():
        left.plot(np.cumsum(run.seconds), run.losses, label=name)
    left.set_xlabel("seconds")
    left.set_ylabel("loss")
    left.set_yscale("log")
    left.legend()
    left.grid(alpha=0.3)
    loss = [1e3 * np.median(run.in_loss) for run in runs.values()]
    step = [1e3 * np.median(run.seconds) for run in runs.values()]
    right.barh(list(runs), step, label="step", color="lightgrey")
    right.barh(list(runs), loss, label="of which the loss, forward and backward")
    right.set_xlabel("milliseconds, median")
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
