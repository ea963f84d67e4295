import torch

from pytest_injectivity.privacy.search.kernel_ridge import KernelRidge


def _drawn(count: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_it_tells_what_is_not_linear() -> None:
    """The sign of a product, of rows that it has not seen."""
    rows, further = _drawn(400, 2), _drawn(100, 2, seed=1)
    ridge = KernelRidge.of(rows, rows.prod(dim=1, keepdim=True).sign())
    right = ridge(further).sign() == further.prod(dim=1, keepdim=True).sign()
    assert right.float().mean() >= 0.9


def test_loud_directions_drown_nothing() -> None:
    """A coordinate five times as loud as the one that matters."""
    rows, further = _drawn(400), _drawn(100, seed=1)
    targets = rows[:, :1].sign()
    loud = torch.tensor([1.0, 1.0, 1.0, 5.0])
    ridge = KernelRidge.of(rows * loud, targets)
    right = ridge(further * loud).sign() == further[:, :1].sign()
    assert right.float().mean() >= 0.85


def test_what_is_left_out_is_what_it_would_be_without_the_example() -> None:
    """By a closed form, up to the mean, which the example is in."""
    rows = _drawn(30)
    targets = rows[:, :1] - rows[:, :1].mean()
    ridge = KernelRidge.of(rows, targets)
    kernel = ridge.factor @ ridge.factor.T
    others = torch.arange(30) != 7
    slopes = torch.linalg.solve(kernel[others][:, others], targets.double()[others])
    assert torch.allclose(ridge.left_out[7], kernel[7][others] @ slopes, atol=1e-6)


def test_equal_rows_tell_the_mean() -> None:
    """Rows that do not differ say nothing."""
    ridge = KernelRidge.of(torch.ones(5, 3), torch.arange(5.0)[:, None])
    assert torch.allclose(ridge(torch.ones(1, 3)), torch.tensor([[2.0]]).double())
