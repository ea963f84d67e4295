"""Whether prompts are kept apart at every step of a training, as they are at the first.

Copy this folder, run it once on a training that you trust, and set the factors from its tables.
README.md says what was measured.
"""

import math

# A margin, or constant, may be smaller than the untrained model's by this factor: twice what the
# training here shows, in which one direction common to all states grows before all else (README.md).
WITHIN = 30.0

# Where the learning rate has risen to its height: from there on margins grow.
WARM_UP = 50
WITHIN_AFTER = 2.0


def test_margins_hold_from_initialization_on(assert_stable_along_training, checkpoints):
    """The normalized 1 % margin of every layer, against the untrained model."""
    assert_stable_along_training(within=WITHIN, checkpoints=checkpoints)


def test_constants_hold_from_initialization_on(assert_stable_along_training, checkpoints):
    """The normalized 1 % co-Lipschitz constant likewise."""
    assert_stable_along_training(within=WITHIN, checkpoints=checkpoints, number="colipschitz")


def test_margins_hold_after_the_warm_up(assert_stable_along_training, checkpoints):
    """Against the first step that has a whole learning rate."""
    assert_stable_along_training(within=WITHIN_AFTER, checkpoints=checkpoints, from_step=WARM_UP)


def test_no_two_prompts_collide_at_any_step(points):
    """Nor is any state not finite."""
    assert [
        f"step {point.step}, {point.layer}: {point.collisions} collisions"
        for point in points
        if point.collisions or point.not_finite
    ] == []


def test_every_step_has_the_same_prompts(points, checkpoints):
    """Numbers of other prompts would show that and nothing else."""
    assert {point.step for point in points} == set(checkpoints)
    assert len({(point.n, point.prompt_hash) for point in points}) == 1


def test_margins_are_above_what_rounding_moves(points):
    """Else the curves would show the arithmetic."""
    assert all(point.margin_q > point.resolution for point in points)


def test_every_number_is_finite(points):
    """Nothing overflowed on the way."""
    numbers = ("mean_norm", "margin", "margin_q", "colipschitz", "colipschitz_q")
    assert all(math.isfinite(point[name]) for point in points for name in numbers)
