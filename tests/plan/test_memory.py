from pytest_injectivity.plan.memory import Holdings
from pytest_injectivity.plan.sizes import Sizes


def test_what_is_held_adds_up() -> None:
    """Blocks and what is outside them are the weights; states are counted by token and by layer."""
    sizes = Sizes(4, 10, 100, 5000, 3000, "bfloat16", None)
    found = Holdings.of(sizes, prompts=7, tokens=60, layers=3)
    assert (10_000, 1500, 4000) == (found.weights, found.block, found.outside)
    assert (60 * 20, 7 * 3 * 20) == (found.between, found.rows)


def test_several_gpus_share_the_blocks_and_the_first_has_all_else() -> None:
    """No GPU holds more than is said, and none is said of more GPUs than there are blocks."""
    sizes = Sizes(4, 10, 100, 5000, 3000, "bfloat16", None)
    found = Holdings.of(sizes, prompts=7, tokens=60, layers=3)
    # Blocks of 1,500 bytes and 4,000 outside them: one block on the first of two, none on that of four.
    assert {2: 5500, 4: 4000} == found.shared


def test_what_workers_hold_and_what_cannot_stream_is_said() -> None:
    """Each worker holds the weights; a model that cannot stay on disk has no such row."""
    sizes = Sizes(4, 10, 100, 5000, 3000, "bfloat16", None)
    said = Holdings.of(sizes, prompts=7, tokens=60, layers=3).words(workers=3, streamed=False)
    assert "30 kB in 3 workers" in said
    assert "streamed" not in said
