from pytest_injectivity.plan.memory import Holdings
from pytest_injectivity.plan.sizes import Sizes


def test_what_is_held_adds_up() -> None:
    """Blocks and what is outside them are the weights; states are counted by token and by layer."""
    sizes = Sizes(4, 10, 100, 5000, 3000, "bfloat16", None)
    found = Holdings.of(sizes, prompts=7, tokens=60, layers=3)
    assert (10_000, 1500, 4000) == (found.weights, found.block, found.outside)
    assert (60 * 20, 7 * 3 * 20) == (found.between, found.rows)
