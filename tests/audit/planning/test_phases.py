from dataclasses import replace

import pytest

from pytest_injectivity.audit.planning.needs import Asked, Need, needs_of
from pytest_injectivity.audit.planning.phases import (
    Loading,
    joined,
    phases_of,
    unforeseen_of,
)
from pytest_injectivity.plan.costs import Costs
from pytest_injectivity.plan.rates import Rates
from pytest_injectivity.plan.sizes import Sizes

SIZES = Sizes(4, 64, 1000, 1_000_000, 936_000, "float32", 128)
COSTS = Costs(SIZES, [tuple(range(16))] * 4, Rates.assumed(SIZES, 0.1), 4096)
LOADING = Loading("child", "parent", 2.0, 4_000_000, beginnings=2)


def _names(*asked: Asked) -> list[str]:
    needs = joined(
        [need for one in asked for need in needs_of(one, 4, "all")], (1, 2, 3, 4, "norm")
    )
    return [phase.name for phase in phases_of(needs, COSTS, LOADING)]


def test_what_two_checks_need_is_done_once() -> None:
    """The margin and the collisions of all layers are one capture and one search."""
    once = _names(Asked("margin_above", {}))
    assert once == _names(Asked("margin_above", {}), Asked("no_collisions", {"layer": 2}))


def test_phases_are_in_the_order_of_the_work() -> None:
    """Models first, then states, searches, and what inverts them."""
    assert [
        "loading the model",
        "hidden states",
        "resolution",
        "resolution of position 0",
        "nearest neighbors",
        "co-Lipschitz constants",
        "SipIt layer01",
        "SipIt layer04",
    ] == _names(Asked("sipit_recovers", {"layer": [4, 1]}), Asked("no_collisions", {}))


def test_a_reference_is_a_second_model() -> None:
    """With phases of its own."""
    names = _names(Asked("margin_retained", {}))
    assert "loading a second model" in names
    assert "hidden states of the reference" in names


def test_a_capture_takes_the_layers_of_the_config_along() -> None:
    """One pass gives them all."""
    (need,) = joined([Need("capture", (0,))], (1, "norm"))
    assert (0, 1, "norm") == need.layers


def test_a_release_that_only_a_run_gives_is_not_foreseen() -> None:
    """The plan says so instead of a time."""
    needs = joined(needs_of(Asked("not_recoverable", {}), 4, "all"), ())
    assert ("attacks on what is released, and its utility: what only a run gives",) == (
        unforeseen_of(needs)
    )
    assert ["loading the model"] == [one.name for one in phases_of(needs, COSTS, LOADING)]


def test_a_release_is_attacked_once() -> None:
    """By the first of the calls that ask for it at one size; another size is another attack."""
    asked = [
        Asked("not_recoverable", {"release": ["identity@4", "permute@2"]}),
        Asked("utility_kept", {"release": "identity@-1"}),
        Asked("utility_kept", {"release": "identity@4", "prompts": 7}),
        Asked("not_recoverable", {"release": ["identity@norm", "permute@2"]}),
    ]
    needs = joined([need for one in asked for need in needs_of(one, 4, "all")], ())
    assert [
        (("identity@4", "permute@2"), 50),
        (("identity@4",), 7),
        (("identity@norm",), 50),
    ] == [(one.releases, one.prompts) for one in needs if one.kind == "release"]
    assert not unforeseen_of(needs)


def test_cross_inversion_runs_the_vocabulary_at_every_position() -> None:
    """The nearest token of all is found by testing all of them."""
    (phase,) = phases_of([Need("cross", (4,), True, 3, 5)], COSTS, LOADING)  # noqa: FBT003 - the field
    assert "cross inversion layer04" == phase.name
    assert 3 * 4 * SIZES.vocab < phase.token_forwards < 8 * 4 * SIZES.vocab


def test_a_table_is_planned_for_each_way_in_which_prompts_begin() -> None:
    """Without special tokens the vocabulary is run once."""
    needs = joined(needs_of(Asked("one_step_distinct", {}), 4, "all"), (1, 2, 3, 4))
    once, twice = (
        {one.name: one.token_forwards for one in phases_of(needs, COSTS, loading)}
        for loading in (replace(LOADING, beginnings=1), LOADING)
    )
    assert SIZES.vocab == once["one-step tables"]
    assert 2 * SIZES.vocab == twice["one-step tables"]


def test_a_search_for_a_collision_is_foreseen() -> None:
    """Where a float64 copy can be made: of blocks that stay on disk there is none."""
    needs = joined(needs_of(Asked("discriminant_distance_above", {"layer": 2}), 4, "all"), ())
    names, streamed = (
        [one.name for one in phases_of(needs, costs, LOADING)]
        for costs in (COSTS, replace(COSTS, streamed=True))
    )
    assert "colliding changes" in names
    assert "colliding changes" not in streamed
    assert not unforeseen_of(needs)


def test_every_other_checkpoint_takes_what_the_model_does() -> None:
    """Loaded, captured and searched, for two checks once."""
    steps = {"checkpoints": {0: "a", 1: "b", 2: "c"}}
    asked = [
        Asked("stable_along_training", steps | {"number": one}) for one in ("margin", "colipschitz")
    ]
    needs = joined([need for one in asked for need in needs_of(one, 4, "all")], (1,))
    *model, others = phases_of(needs, COSTS, LOADING)
    assert "checkpoints of the training" == others.name
    assert 3 * sum(one.token_forwards for one in model) == others.token_forwards
    assert pytest.approx(3 * sum(one.seconds for one in model)) == others.seconds


def test_which_checkpoints_there_are_may_not_be_known() -> None:
    """Then the model's own phases are all there is."""
    needs = joined(needs_of(Asked("stable_along_training", {}), 4, "all"), ())
    assert "checkpoints of the training" not in [
        one.name for one in phases_of(needs, COSTS, LOADING)
    ]
    assert 1 == len(unforeseen_of(needs))
