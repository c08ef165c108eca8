"""`smoothl1.torch` beside PyTorch's own losses, where that is installed."""

import copy
import math
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import smoothl1

torch = pytest.importorskip("torch")
losses = pytest.importorskip("smoothl1.torch")
F = torch.nn.functional

pytestmark = [
    # PyTorch scripts rules of forward mode when they are first used, and says that that is
    # deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    # Those before 2.13 call what they have deprecated themselves.
    pytest.mark.filterwarnings("ignore:Please use `torch.vmap`:FutureWarning"),
]

REDUCTIONS = ["none", "mean", "sum"]
DTYPES = [torch.float32, torch.float64]
FUNCTIONS = {
    "smooth_l1": (losses.smooth_l1_loss, F.smooth_l1_loss, "beta"),
    "huber": (losses.huber_loss, F.huber_loss, "delta"),
}


needs_exchange = pytest.mark.skipif(
    not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"),
    reason="this PyTorch does not show its tensors to C",
)


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return request.param


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20261121)


@pytest.fixture
def two(generator):
    """Return input and target in float64, of 5 rows and 7 columns."""
    return torch.randn(2, 5, 7, dtype=torch.float64, generator=generator).unbind()


def set_sizes(monkeypatch, *, large=losses._LARGE, kept=losses._SMALL):
    """Let results be large from so many bytes on, gradients kept of so many elements."""
    monkeypatch.setattr(losses, "_quick", losses._tensors(large, kept).loss)
    monkeypatch.setattr(losses, "_SMALL", kept)


def both(function, threshold=1.0):
    """Return our function and theirs at a threshold, with arguments input, target, reduction."""
    ours, theirs, name = FUNCTIONS[function]
    return (
        lambda x, y, reduction="mean", **more: ours(x, y, reduction, threshold, **more),
        lambda x, y, reduction="mean": theirs(x, y, reduction=reduction, **{name: threshold}),
    )


def run(loss, x, y, reduction, of, factor=None):
    """Return the loss and the gradients; ``of`` says which require one."""
    leaves = [a.detach().requires_grad_(b) for a, b in zip((x, y), of, strict=True)]
    result = loss(*leaves, reduction)
    if any(of):
        result.backward(torch.ones_like(result) if factor is None else factor)
    return result, [leaf.grad for leaf in leaves]


def check(got, wanted):
    if wanted is None:
        assert got is None
    else:
        assert got.dtype is wanted.dtype
        assert got.shape == wanted.shape
        torch.testing.assert_close(got, wanted, equal_nan=True)


def layouts(dtype, generator):
    """Yield pairs of tensors: sizes on both sides of every limit, and strides of every kind."""
    for shape in ((), (1,), (37,), (4096,), (20_000,), (300_000,), (3, 4, 5), (1, 1)):
        yield 2 * torch.randn(2, *shape, dtype=dtype, generator=generator)
    a, b = 2 * torch.randn(2, 60, 50, dtype=dtype, generator=generator)
    yield a.T, b.T
    yield a[::3, ::2], b[::3, ::2]
    yield a, b[0].expand_as(a)
    yield a[:, :1].expand_as(a), b
    yield a.T, b.reshape(50, 60)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("of", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_as_theirs(function, dtype, of, reduction, generator):
    for threshold in (0.0, 0.37, 1.0, 5, 1e4)[function == "huber" :]:
        ours, theirs = both(function, threshold)
        for x, y in layouts(dtype, generator):
            got, grads = run(ours, x, y, reduction, of)
            wanted, expected = run(theirs, x, y, reduction, of)
            check(got, wanted)
            assert got.requires_grad == wanted.requires_grad
            for grad, other in zip(grads, expected, strict=True):
                check(grad, other)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_bits_of_arrays(function, dtype, reduction, generator):
    name = f"{function}_loss"
    for x, y in layouts(dtype, generator):
        x = x.detach().requires_grad_()
        got = getattr(losses, name)(x, y, reduction, 0.37)
        got.backward(torch.ones_like(got))
        arrays = x.detach().numpy(), y.numpy()
        value = getattr(smoothl1, name)(*arrays, reduction, 0.37)
        np.testing.assert_array_equal(got.detach().numpy(), value)
        np.testing.assert_array_equal(
            x.grad.numpy(), getattr(smoothl1, f"{function}_grad")(*arrays, reduction, 0.37)
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("in_cache", [True, False])
def test_what_comes_in_is_multiplied(function, reduction, in_cache, generator, monkeypatch):
    n = 20_000
    monkeypatch.setattr(losses, "_IN_CACHE", n if in_cache else n - 1)
    set_sizes(monkeypatch, kept=0)
    ours, theirs = both(function, 0.7)
    x, y = torch.randn(2, n, generator=generator)
    factors = [torch.tensor(0.3), torch.tensor(1.0), torch.tensor(float("nan"))]
    if reduction == "none":
        imaginary = torch.randn(2, n, generator=generator).to(torch.complex64).mul(1j)
        factors = [torch.randn(n, generator=generator), torch.ones(n)]
        factors += [torch.tensor(scale).expand(n) for scale in (0.3, 1.0)]
        factors.append(imaginary[0].conj().imag)  # negated when it is read
        assert factors[-1].is_neg()
    for factor in factors:
        for of in ((True, False), (False, True), (True, True)):
            got, wanted = (run(f, x, y, reduction, of, factor)[1] for f in (ours, theirs))
            for a, b in zip(got, wanted, strict=True):
                check(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_results_in_memory_of_either_library(function, dtype, reduction, generator, monkeypatch):
    ours, _ = both(function, 0.7)
    x, y = torch.randn(2, 3, 1, 5_000, dtype=dtype, generator=generator)
    found = []
    for large in (0, 2**30):
        set_sizes(monkeypatch, large=large)
        loss, grads = run(ours, x, y, reduction, (True, True))
        found.append((loss.detach(), *grads))
        assert grads[0].stride() == x.stride()
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    # Values that begin within a number, as in a file that is read as it lies.
    odd = torch.frombuffer(bytearray(1) + x.numpy().tobytes(), dtype=dtype, offset=1)
    loss, grads = run(ours, odd.view(x.shape), y, reduction, (True, True))
    for a, b in zip((loss, *grads), found[0], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "factor",
    [torch.tensor(2), torch.tensor(2.0, dtype=torch.float64), torch.tensor([1.0, 2.0])[1]],
    ids=["int", "float64", "within a storage"],
)
def test_a_node_is_called_with_any_number(function, dtype, factor):
    ours, _ = both(function)
    x = torch.tensor([0.5, 3.0], dtype=dtype, requires_grad=True)
    node = ours(x, torch.zeros(2, dtype=dtype), "sum").grad_fn
    with torch.no_grad():
        grad = node.apply(factor)[0]
    assert grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("weight", [None, torch.ones(4)])
def test_a_freed_storage_is_an_error(reduction, weight):
    freed, there = torch.ones(4), torch.ones(4)
    freed.untyped_storage().resize_(0)
    for x, y in ((freed, there), (there, freed)):
        with pytest.raises(
            RuntimeError, match=r"shape \(4,\) has no memory: its storage was freed"
        ):
            losses.smooth_l1_loss(x, y, reduction, weight=weight)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_weights(function, dtype, reduction, generator):
    ours, theirs = both(function, 0.7)
    x, y, w = torch.randn(3, 40, 30, dtype=dtype, generator=generator)

    def weighted(x, y, w, reduction):
        values = theirs(x, y, "none") * w
        return values if reduction == "none" else getattr(values, reduction)()

    for weight in (w, w.T.reshape(40, 30), w[0].expand_as(w)):
        got, (grad, other) = run(
            lambda x, y, r, w=weight: ours(x, y, r, weight=w), x, y, reduction, (True, True)
        )
        wanted, (expected, opposite) = run(
            lambda x, y, r, w=weight: weighted(x, y, w, r), x, y, reduction, (True, True)
        )
        for a, b in ((got, wanted), (grad, expected), (other, opposite)):
            check(a, b)
    leaf = w.clone().requires_grad_()
    ours(x, y, reduction, weight=leaf).sum().backward()
    got, leaf.grad = leaf.grad, None
    weighted(x, y, leaf, reduction).sum().backward()
    check(got, leaf.grad)
    check(ours(x, y, reduction, weight=w.double()), weighted(x, y, w.double(), reduction))
    with pytest.raises(ValueError, match="Weights and input must have the same size"):
        ours(x, y, reduction, weight=w[0])
    with pytest.warns(UserWarning, match="target size"):
        check(ours(x, y[0], reduction, weight=w), weighted(x, y[0].expand_as(x), w, reduction))


def outcome(call):
    """Return what is returned, raised and warned."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            result = call()
        except Exception as error:
            result = type(error), str(error)
    return result, [(w.category, str(w.message), w.filename) for w in seen]


def ramp(*shape, dtype=torch.float32):
    n = int(np.prod(shape))
    return (torch.arange(n) - n // 2).reshape(shape).to(dtype)


ODD = {
    "shapes": (ramp(4, 1), ramp(3)),
    "scalar and vector": (ramp(1).squeeze(), ramp(3)),
    "shapes that do not fit": (ramp(4), ramp(3)),
    "empty": (ramp(0), ramp(0)),
    "empty rows": (ramp(3, 0), ramp(3, 0)),
    "float32 and float64": (ramp(5), ramp(5, dtype=torch.float64)),
    "integers": (ramp(5, dtype=torch.int64), ramp(5, dtype=torch.int64)),
    "integer target": (ramp(5), ramp(5, dtype=torch.int64)),
    "bool target": (ramp(5), ramp(5) > 0),
    "half": (ramp(5, dtype=torch.half), ramp(5, dtype=torch.half)),
    "bfloat16": (ramp(5, dtype=torch.bfloat16), ramp(5, dtype=torch.bfloat16)),
    "bfloat16 and float32": (ramp(5, dtype=torch.bfloat16), ramp(5)),
    "complex": (ramp(5, dtype=torch.complex64), ramp(5, dtype=torch.complex64)),
    "meta": (ramp(5).to("meta"), ramp(5).to("meta")),
    "sparse": (ramp(5).to_sparse(), ramp(5).to_sparse()),
    "sparse target": (ramp(5), ramp(5).to_sparse()),
    "zeros without memory": (ramp(5), torch._efficientzerotensor(5)),
    "negated": ((ramp(5) * 1j).conj().imag, ramp(5)),
    "list": ([1.0], ramp(1)),
    "number as target": (ramp(5), 1.0),
    "array as target": (ramp(5), np.zeros(5, np.float32)),
    "None": (ramp(5), None),
}


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "elementwise_mean", "median", 0.5, None])
@pytest.mark.parametrize("case", ODD)
def test_the_same_results_errors_and_warnings(function, case, reduction):
    ours, theirs = both(function, 0.5)
    compare(*(outcome(lambda f=f: f(*ODD[case], reduction)) for f in (ours, theirs)))


def compare(got, wanted):
    (got, warned), (wanted, expected) = got, wanted
    if isinstance(wanted, torch.Tensor):
        assert got.layout is wanted.layout
        if wanted.is_meta:
            assert got.is_meta
            assert got.shape == wanted.shape
        else:
            check(got, wanted)
    else:
        assert got == wanted
    assert [w[:2] for w in warned] == [w[:2] for w in expected]
    assert {w[2] for w in warned if w[1].startswith("Using a target size")} <= {__file__}


@pytest.mark.parametrize(
    "threshold",
    [
        *(0, -1.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-46, 1e-39, 1e300, 10**400),
        *(True, "1", None, np.float64(0.5), torch.tensor(0.5), [1.0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_thresholds(function, dtype, threshold):
    ours, theirs = both(function, threshold)
    x, y = ramp(9, dtype=dtype) / 4, torch.zeros(9, dtype=dtype)
    for reduction in REDUCTIONS:
        compare(*(outcome(lambda f=f, r=reduction: f(x, y, r)) for f in (ours, theirs)))


def test_special_values(function, generator):
    values = [0.0, -0.0, 1.0, -1e-30, 1e30, float("inf"), -float("inf"), float("nan")]
    for dtype in DTYPES:
        x, y = torch.tensor([[a, b] for a in values for b in values], dtype=dtype).T
        for threshold in (0.25, 1.0):
            ours, theirs = both(function, threshold)
            for reduction in REDUCTIONS:
                got, grads = run(ours, x, y, reduction, (True, True))
                wanted, expected = run(theirs, x, y, reduction, (True, True))
                check(got, wanted)
                for a, b in zip(grads, expected, strict=True):
                    check(a, b)
    x = torch.tensor([float("nan")], requires_grad=True)
    losses.smooth_l1_loss(x, torch.zeros(1), beta=0.0).backward()
    assert x.grad.isnan()  # it is 0 with PyTorch


# ---------------------------------------------------------------------------
# Autograd
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("threshold", [0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradcheck(function, reduction, threshold, weighted, two, generator):
    x, y = (a.clone().requires_grad_() for a in two)
    more = {}
    if weighted:
        more["weight"] = torch.rand(5, 7, dtype=torch.float64, generator=generator)
    ours, _ = both(function, threshold)

    def loss(x, y):
        return ours(x, y, reduction, **more)

    batched = {"check_batched_grad": not weighted}
    assert torch.autograd.gradcheck(loss, (x, y), check_forward_ad=True, **batched)
    assert torch.autograd.gradgradcheck(loss, (x, y))
    assert torch.autograd.gradcheck(lambda x: loss(x, y.detach()), (x,))
    assert torch.autograd.gradgradcheck(lambda y: loss(x.detach(), y), (y,))


def test_a_graph_is_run_again(function, generator):
    ours, _ = both(function, 0.6)
    x, y = torch.randn(2, 1000, generator=generator)
    for reduction in REDUCTIONS:
        for of in ((True, False), (False, True), (True, True)):
            x, y = (a.detach().requires_grad_(b) for a, b in zip((x, y), of, strict=True))
            leaves = [a for a in (x, y) if a.requires_grad]
            loss = ours(x, y, reduction).sum() * 0.3
            first = torch.autograd.grad(loss, leaves, retain_graph=True)
            second = torch.autograd.grad(loss, leaves, create_graph=True)
            third = torch.autograd.grad(loss, leaves)
            for a, b, c in zip(first, second, third, strict=True):
                assert torch.equal(a, b)
                assert torch.equal(a, c)
                assert b.requires_grad
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(loss, leaves)


def test_backward_makes_no_copy(function, generator):
    ours, _ = both(function)
    x, y = torch.randn(2, 1000, generator=generator)
    x.requires_grad_()
    loss = ours(x, y)
    kept = loss.grad_fn.slope.data_ptr()
    loss.backward()
    assert x.grad.data_ptr() == kept
    grad = x.grad.clone()
    x.grad = None
    loss = ours(x, y) * 0.5
    kept = loss.grad_fn.next_functions[0][0].slope.data_ptr()
    loss.backward()
    assert x.grad.data_ptr() == kept
    torch.testing.assert_close(x.grad, grad * 0.5)
    ours(x, y).backward()  # is added to what is there
    torch.testing.assert_close(x.grad, grad * 1.5)


def test_a_change_in_place_after_the_forward_pass(function, generator, monkeypatch):
    """What `backward` needs is kept; what it would have to read again must not change."""
    ours, _ = both(function)
    x, y = torch.randn(2, 100, generator=generator)
    x.requires_grad_()
    wanted = torch.autograd.grad(ours(x, y), x)[0]
    loss = ours(x, y)
    with torch.no_grad():
        x.mul_(3)
    assert torch.equal(torch.autograd.grad(loss, x, retain_graph=True)[0], wanted)
    for again in (True, False):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, x, create_graph=again, retain_graph=True)
    set_sizes(monkeypatch, kept=0)
    loss = ours(x, y, "none").sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_operands_that_are_results_or_the_same(function, generator):
    ours, theirs = both(function, 0.4)
    found = []
    for loss in (ours, theirs):
        x = torch.linspace(-2, 2, 50, dtype=torch.float64).requires_grad_()
        h = x.sin()
        h.mul_(2)  # in place, before
        (loss(h, x.cos()) + loss(x, x, "sum") + loss(h, h.detach() + 0.1)).backward()
        found.append(x.grad)
    check(*found)


def test_without_gradients(function, two):
    ours, _ = both(function)
    x, y = two[0].clone().requires_grad_(), two[1]
    wanted = ours(x, y).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got = ours(x, y)
        assert not got.requires_grad
        assert torch.equal(got, wanted)
    assert torch.equal(ours(torch.nn.Parameter(x.detach()), y), wanted)


def test_checkpoint_and_hooks(function, two):
    from torch.utils.checkpoint import checkpoint

    ours, theirs = both(function)
    found = []
    for loss in (ours, theirs):
        x = two[0].clone().requires_grad_()
        x.register_hook(lambda grad: grad * 2)
        checkpoint(lambda x, f=loss: f(x.tanh(), two[1]), x, use_reentrant=False).backward()
        with torch.autograd.graph.saved_tensors_hooks(lambda a: a.numpy(force=True), torch.tensor):
            result = loss(x, two[1], "none").sum()
        result.backward()
        found.append(x.grad)
    check(*found)


def test_threads_run_one_graph(function, generator):
    """Several at once: each backward has the whole gradient."""
    ours, _ = both(function)
    x, y = torch.randn(2, 20_000, generator=generator)
    x.requires_grad_()
    loss = ours(x, y) * 0.25
    wanted = torch.autograd.grad(loss, x, retain_graph=True)[0]
    loss = ours(x, y) * 0.25
    found = []

    def work():
        for _ in range(20):
            found.append(torch.autograd.grad(loss, x, retain_graph=True)[0])
            found.append(torch.autograd.grad(ours(x, y) * 0.25, x)[0])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 160
    assert all(torch.equal(grad, wanted) for grad in found)


@pytest.fixture
def threads_kept():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_as_many_threads_as_pytorch(function, monkeypatch, threads_kept, generator):
    seen = []
    quick = losses._quick
    monkeypatch.setattr(
        losses,
        "_quick",
        # Asked first, and has nothing for strides.
        lambda *args: (seen.append(args[-1]) if args[0].is_contiguous() else None, quick(*args))[1],
    )
    found = losses._FUNCTIONS[function == "huber"]
    spies = tuple(
        lambda *args, f=f, **options: (seen.append(options["n_threads"]), f(*args, **options))[1]
        for f in found
    )
    monkeypatch.setattr(losses, "_FUNCTIONS", (spies, spies))
    ours, _ = both(function)
    x, y = torch.randn(2, 200_000, generator=generator)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        seen.clear()
        leaf = x.clone().requires_grad_()
        result = ours(leaf, y)
        result.backward()
        ours(x, y, "none")
        ours(x[::2], y[::2])
        assert len(seen) >= 3  # asked twice where a type shows nothing to C
        assert set(seen) == {threads}
        results.append((result, leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 100, 5000, 300_000])
def test_quick_and_by_arrays(function, reduction, dtype, n, monkeypatch, generator):
    """What is alike takes the quick way, with the bits of the other, which older versions take."""
    ours, _ = both(function, 0.7)
    x, y = torch.randn(2, n, generator=generator, dtype=dtype)

    def results():
        return [
            run(lambda x, y, _: ours(x, y, reduction), x, y, None, of)
            for of in ((True, False), (False, True), (True, True), (False, False))
        ]

    found = results()
    monkeypatch.setattr(losses, "_quick", lambda *args: None)
    monkeypatch.setattr(losses, "_number_of", lambda factor: None)
    for (loss, grads), (other, others) in zip(found, results(), strict=True):
        assert torch.equal(loss, other)
        for a, b in zip(grads, others, strict=True):
            assert a is b is None or torch.equal(a, b)


@needs_exchange
def test_what_is_quick(two):
    """Tensors that are alike, with thresholds and reductions that PyTorch has no rules for."""
    x, y = two
    assert losses._quick(x, y, "mean", 1, False, True, 1)[1:] == (None, False)
    assert losses._quick(x.clone().requires_grad_(), y, "sum", 0.5, True, True, 1)[2]
    assert losses._quick(x, torch.nn.Parameter(y), "sum", 0.5, True, True, 1)[2]
    assert not losses._quick(x, torch.nn.Parameter(y), "sum", 0.5, True, False, 1)[2]
    dead = x.clone()
    dead.untyped_storage().resize_(0)

    class Named(torch.Tensor):
        pass

    others = [
        (x.T, y.T),
        (x, y.T.contiguous()),
        (x, y.float()),
        (x.half(), y.half()),
        (x.long(), y.long()),
        (x, y[0]),
        (x[:0], y[:0]),
        (x.to("meta"), y.to("meta")),
        (x.to_sparse(), y),
        (x, torch._neg_view(y)),
        (x, torch._efficientzerotensor(x.shape, dtype=x.dtype)),
        (dead, y),
        (x, y.as_subclass(Named)),
        (x, y.numpy()),
        (None, y),
        (torch.frombuffer(bytearray(300), dtype=x.dtype, count=35, offset=4).reshape(5, 7), y),
    ]
    for pair in others:
        assert losses._quick(*pair, "mean", 1.0, False, True, 1) is None
        assert losses._quick(*pair[::-1], "mean", 1.0, False, True, 1) is None
    for reduction in ("max", None, 1):
        assert losses._quick(x, y, reduction, 1.0, False, True, 1) is None
    for threshold in (-1.0, math.nan, math.inf, 1e-40, 1e39, 10**400, True, "1", None, np.ones(1)):
        assert losses._quick(x, y, "mean", threshold, False, True, 1) is None
    assert losses._quick(x, y, "mean", 0.0, True, True, 1) is None
    assert losses._quick(x, y, "mean", 0.0, False, True, 1) is not None


@pytest.mark.parametrize("offer", [None, object()])
def test_types_that_show_nothing_to_c(offer, two):
    """As the tensors of older versions; or what they offer is no table of functions."""
    kind = type("Kind", (), {"__dlpack_c_exchange_api__": offer})
    tensors = losses.core.Tensors((kind, torch.Tensor), (None, None), None, None, 0, 0)
    assert tensors.loss(*two, "mean", 1.0, False, True, 1) is None
    assert tensors.loss(kind(), kind(), "mean", 1.0, False, True, 1) is None
    assert tensors.number(two[0][0, 0]) is None


@needs_exchange
def test_numbers_that_come_in():
    """One number, whatever its shape; None for anything that needs a closer look."""
    for dtype in (torch.float32, torch.float64):
        number = torch.tensor(1.5, dtype=dtype)
        for one in (number, number.expand(3, 4), number.expand(1)):
            assert losses._number_of(one) == 1.5
        for other in (torch._neg_view(number), torch.ones(3, dtype=dtype), number.to("meta"), None):
            assert losses._number_of(other) is None
    assert losses._number_of(torch.tensor(1)) is None


# ---------------------------------------------------------------------------
# torch.func, the compiler, other modes
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_transforms(function, reduction, threshold, two):
    from torch import func

    def composed(x, y, reduction="mean"):
        # Of PyTorch's loss, nested vmap fails over axes of each operand.
        z = (x - y).abs()
        values = torch.where(z < threshold, 0.5 * z * z / threshold, z - threshold / 2)
        values = values * threshold if function == "huber" else values
        return values if reduction == "none" else getattr(values, reduction)()

    x, y = two
    found = []
    for loss in (both(function, threshold)[0], composed):

        def f(x, y, loss=loss):
            return loss(x, y, reduction)

        def total(x, y, f=f):
            return f(x, y).sum()

        def of_input(x, f=total):
            return f(x, y)

        found.append(
            [
                *func.grad(total, argnums=(0, 1))(x, y),
                *func.jacrev(f, argnums=(0, 1))(x, y),
                *func.jacfwd(f, argnums=(0, 1))(x, y),
                *func.vjp(f, x, y)[1](torch.full_like(f(x, y), 0.3)),
                func.jvp(of_input, (x,), (y,))[1],
                func.hessian(of_input)(x),
                func.jacrev(func.jacrev(of_input))(x),
                func.jacfwd(func.jacfwd(of_input))(x),
                func.grad(lambda x, g=of_input: (func.grad(g)(x) ** 2).sum())(x),
                func.vmap(f)(x, y),
                func.vmap(f, in_dims=(1, None))(x, y[:, 0]),
                func.vmap(f, in_dims=(None, 1), out_dims=-1)(x[:, 0], y),
                func.vmap(func.vmap(f))(x, y),
                func.vmap(func.vmap(f, (0, None)), (None, 0))(x, y),
                func.vmap(func.grad(total))(x, y),
                func.vmap(func.hessian(total), in_dims=1)(x, y),
                func.grad(lambda x, f=f: func.vmap(f)(x, y).sum())(x),
                func.vmap(lambda w, f=f: func.functional_call(Scaled(f, y), {"w": w}, x))(x[0]),
            ]
        )
    for a, b in zip(*found, strict=True):
        check(a, b)


def test_tensors_that_a_transform_left_behind(function, two):
    """They wrap values, until an operation unwraps them."""
    ours, _ = both(function)
    left = []

    def f(x, y):
        left.extend((x, y))
        return ours(x, y)

    torch.func.grad(f, argnums=(0, 1))(*two)
    x, y = left
    leaf = two[0].clone().requires_grad_()
    for reduction in REDUCTIONS:
        wanted = ours(*two, reduction)
        assert torch.equal(ours(x, y, reduction), wanted)
        assert torch.equal(ours(leaf, y, reduction), wanted)
        assert torch.equal(ours(x, leaf, reduction), ours(two[0], two[0], reduction))
        assert torch.equal(
            ours(leaf, y, reduction, weight=x * x), ours(*two, reduction, weight=x * x)
        )
    grads = [torch.autograd.grad(ours(leaf, a), leaf)[0] for a in (y, two[1])]
    assert torch.equal(*grads)


class Scaled(torch.nn.Module):
    def __init__(self, loss, target):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
        self.loss, self.target = loss, target

    def forward(self, x):
        return self.loss(self.w * x, self.target)


def test_weights_under_transforms(function, two, generator):
    ours, _ = both(function)
    w = torch.rand(5, 7, dtype=torch.float64, generator=generator)
    got = torch.func.grad(
        lambda w: torch.func.vmap(lambda *a: ours(*a[:2], weight=a[2]))(*two, w).sum()
    )(w)
    check(got, ours(*two, "none") / 7)


def test_gradients_in_batches(function, two):
    x, y = two[0].clone().requires_grad_(), two[1]
    for reduction in REDUCTIONS:
        found = []
        for loss in both(function, 0.8):
            result = loss(x, y, reduction)
            rows = torch.arange(1.0, 4.0, dtype=torch.float64)
            factors = rows.reshape(3, *[1] * result.dim()).expand(3, *result.shape)
            found += torch.autograd.grad(result, x, factors, is_grads_batched=True)
            found += [
                torch.autograd.functional.hessian(lambda x, f=loss: f(x, y), x, vectorize=v)
                for v in (False, True)
            ]
        half = len(found) // 2
        for a, b in zip(found[:half], found[half:], strict=True):
            check(a, b)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_opcheck(function, reduction, kept, weighted, two):
    for x, y in (two, (two[0].T, two[1].T), (two[0], two[1][0].expand(5, 7)), (two[0][:0],) * 2):
        weight = y.abs() if weighted else None
        torch.library.opcheck(
            torch.ops.smoothl1.value_and_grad.default,
            (x, y, weight, reduction, 0.7, function == "huber", kept),
        )


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("function", "reduction"), [*(("smooth_l1", how) for how in REDUCTIONS), ("huber", "mean")]
)
def test_compiled(function, reduction, two, generator, fresh_compiler):
    ours, _ = both(function, 0.7)

    def f(x, y):
        return ours(2 * x, y, reduction).sum() * 0.5

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((5, 7), (3, 11)):
        x, y = torch.randn(2, *shape, generator=generator)
        for of in ((True, False), (False, True), (True, True), (False, False)):
            got, wanted = (run(lambda x, y, _, g=g: g(x, y), x, y, None, of) for g in (f, compiled))
            # In compiled code, versions before have PyTorch's own loss.
            if torch.__version__ >= (2, 13):
                assert torch.equal(got[0], wanted[0])
            check(got[0], wanted[0])
            for a, b in zip(got[1], wanted[1], strict=True):
                check(a, b)
    check(
        torch.compile(torch.func.grad(f), fullgraph=True, backend="aot_eager")(*two),
        torch.func.grad(f)(*two),
    )
    weight = two[0].abs()
    weighted = torch.compile(
        lambda *a: ours(*a, reduction, weight=weight), fullgraph=True, backend="aot_eager"
    )
    check(weighted(*two), ours(*two, reduction, weight=weight))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning")  # by 2.6
def test_compiled_by_the_default_backend(two, fresh_compiler):
    module = losses.SmoothL1Loss(beta=0.7)
    x, y = (a.float() for a in two)
    compiled = torch.compile(lambda x, y: module(x * 2, y), fullgraph=True)
    got = run(lambda x, y, _: compiled(x, y), x, y, None, (True, False))
    wanted = run(lambda x, y, _: module(x * 2, y), x, y, None, (True, False))
    check(got[0], wanted[0])
    check(got[1][0], wanted[1][0])


def test_exported_and_traced(two):
    from torch.fx.experimental.proxy_tensor import make_fx

    module = losses.HuberLoss(delta=0.7)
    exported = torch.export.export(module, two)
    assert "smoothl1" not in str(exported.graph)  # PyTorch's own loss, which runs anywhere
    x, y = two[1], two[0] * 2
    check(exported.module()(x, y), module(x, y))
    graph = make_fx(module)(*two)
    assert "smoothl1.value_and_grad" in graph.code
    assert torch.equal(graph(x, y), module(x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        traced = torch.jit.trace(module, two)
        assert torch.equal(traced(x, y), module(x, y))


def test_subclasses_and_modes(two):
    seen = []

    class Named(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            seen.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    x, y = two
    got = losses.smooth_l1_loss(x.as_subclass(Named), y)
    assert type(got) is Named
    assert F.smooth_l1_loss in seen
    check(got.as_subclass(torch.Tensor), losses.smooth_l1_loss(x, y))

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    for function in (losses.smooth_l1_loss, losses.huber_loss):
        with Watch():
            got = function(x, y, "sum")
        assert function in seen
        assert torch.equal(got, function(x, y, "sum"))
    with torch.device("meta"):
        assert torch.equal(losses.smooth_l1_loss(x, y), losses.smooth_l1_loss(x, y))

    from torch.utils._python_dispatch import TorchDispatchMode

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Operations():
        got = losses.smooth_l1_loss(x, y)
    assert torch.ops.smoothl1.value_and_grad.default in seen
    assert torch.equal(got, losses.smooth_l1_loss(x, y))


# ---------------------------------------------------------------------------
# Modules, memory, the import
# ---------------------------------------------------------------------------


def test_modules(two):
    x, y = two
    for module, theirs, function, name in (
        (losses.SmoothL1Loss, torch.nn.SmoothL1Loss, losses.smooth_l1_loss, "beta"),
        (losses.HuberLoss, torch.nn.HuberLoss, losses.huber_loss, "delta"),
    ):
        loss = module("sum", 0.6)
        assert repr(loss) == f"{module.__name__}(reduction='sum', {name}=0.6)"
        assert torch.equal(loss(x, y), function(x, y, "sum", 0.6))
        assert torch.equal(loss(x, y, weight=x), function(x, y, "sum", 0.6, weight=x))
        check(loss(x, y), theirs(reduction="sum", **{name: 0.6})(x, y))
        check(module()(x, y), theirs()(x, y))
        for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert other.reduction == "sum"
            assert getattr(other, name) == 0.6
            assert torch.equal(other(x, y), loss(x, y))
        assert loss.state_dict() == {}
        module().load_state_dict(loss.state_dict())
        assert isinstance(loss, torch.nn.Module)
    for module in (losses.HuberLoss, torch.nn.HuberLoss):
        if module is torch.nn.HuberLoss and torch.__version__ < (2, 13):
            continue  # takes anything
        with pytest.raises(TypeError, match="delta must be a float or int, got: <class 'str'>"):
            module(delta="1")


PEAKS = """
import smoothl1  # first: old PyTorch brings a libgomp that is older than the one of its build
import torch
import torch.nn.functional as theirs
import smoothl1.torch as ours
torch.set_num_threads(1)
x, y = torch.randn(2, 2**22)
x.requires_grad_()

def read(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

def run(loss, reduction, x, y):
    (loss(x, y, reduction=reduction).sum() * 0.5).backward()

for name in ("smooth_l1_loss", "huber_loss"):
    for reduction in ("none", "mean", "sum"):
        for module in (ours, theirs):
            loss = getattr(module, name)
            run(loss, reduction, x[:100], y[:100])
            x.grad = None
            open("/proc/self/clear_refs", "w").write("5")
            before = read("VmRSS")
            run(loss, reduction, x, y)
            print((read("VmHWM") - before) / 2**24)
            x.grad = None
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory():
    """In arrays of the input's size: the gradient, and no more than PyTorch needs."""
    done = subprocess.run(
        [sys.executable, "-c", PEAKS],
        check=True,
        capture_output=True,
        text=True,
        # What is freed goes back to the system at once.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    ours, theirs = np.reshape([float(line) for line in done.stdout.split()], (6, 2)).T
    assert (ours < theirs + 0.15).all(), (ours, theirs)
    assert (ours < 1.3).all(), ours


def message_of_the_import(before):
    """Return what the import of the module is refused with, after other lines in a new process."""
    program = (
        f"import smoothl1\n{before}\n"
        "try:\n    import smoothl1.torch\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_the_import():
    program = (
        "import sys, smoothl1; assert 'torch' not in sys.modules;"
        "import smoothl1.torch, torch; assert smoothl1.torch is not torch;"
        "assert torch.nn.Module in smoothl1.torch.HuberLoss.__mro__"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    message = message_of_the_import("import sys; sys.modules['torch'] = None")
    assert message == "smoothl1.torch needs PyTorch: pip install 'smoothl1[torch]'\n"


def test_an_old_version_is_named():
    message = message_of_the_import(
        "import torch; torch.__version__ = torch.torch_version.TorchVersion('2.3.1+cpu')"
    )
    assert message == (
        "smoothl1.torch needs PyTorch 2.4 or newer, and 2.3.1+cpu is installed: "
        "pip install --upgrade 'smoothl1[torch]'\n"
    )
