import inspect

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.audit.bound_checks import CHECKS
from pytest_injectivity.audit.planning.needs import KINDS, Asked, Need, needs_of
from pytest_injectivity.audit.planning.phases import unforeseen_of
from pytest_injectivity.errors import LayerError

RELEASES = {"cut_not_read", "not_recoverable", "utility_kept"}


def _parameters(*, by_layer: bool) -> list[tuple[str, str]]:
    """Each check that is asked for layers, with each argument that bounds them, or that never does."""
    every = [
        (check, name, "Mapping" in str(one.annotation))
        for check, function in sorted(CHECKS.items())
        if check not in RELEASES
        for name, one in inspect.signature(function).parameters.items()
        if name not in {"audit", "layer"}
    ]
    bounds = {name for _, name, bounds_layers in every if bounds_layers}
    return [
        (check, name)
        for check, name, bounds_layers in every
        if (bounds_layers if by_layer else name not in bounds)
    ]


def _needs(check: str, **arguments: object) -> tuple[Need, ...]:
    return needs_of(Asked(check, arguments), 4, "all")


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_every_check_needs_something(check: str) -> None:
    """Each is listed, needs the model at least, and needs are of the kinds there are."""
    found = _needs(check)
    assert "load" in {one.kind for one in found}
    assert set() == {one.kind for one in found} - set(KINDS)


def test_the_argument_names_the_layers() -> None:
    """As the check itself reads it."""
    layers = {one.layers for one in _needs("no_collisions", layer="2,-1") if one.kind == "capture"}
    assert {(2, 4)} == layers


def test_values_by_layer_name_the_layers() -> None:
    """Where no layer is given."""
    found = _needs("margin_above", margin={"1": 0.1, "norm": 0.2})
    assert {(1, "norm")} == {one.layers for one in found if one.kind == "geometry"}


@pytest.mark.parametrize(("check", "name"), _parameters(by_layer=True))
def test_every_bound_that_may_differ_by_layer_names_them(check: str, name: str) -> None:
    """And a layer that is not there is refused."""
    with pytest.raises(LayerError, match="layer 60"):
        _needs(check, **{name: {60: 0.5}})


@pytest.mark.parametrize(("check", "name"), _parameters(by_layer=False))
def test_other_values_with_names_name_no_layers(check: str, name: str) -> None:
    """Such as checkpoints, which are named by their steps."""
    found = _needs(check, **{name: {0: "begun", 60: "done"}})
    assert [one.layers for one in found] == [one.layers for one in _needs(check)]


def test_a_search_for_a_collision_stands_beside_the_states() -> None:
    """With the weights, pairs and roundings of the call."""
    found = _needs("discriminant_distance_above", layer=2, distance=1, over="block", pairs=3)
    assert {"load", "capture", "geometry"} < {one.kind for one in found}
    assert Need("discriminant", (2,), over="block", pairs=3, roundings=2) == found[-1]


@pytest.mark.parametrize(("bits", "roundings"), [(None, 2), (4, 2), (3, 3)])
def test_the_unit_of_a_distance_is_one_more_rounding(bits: int | None, roundings: int) -> None:
    """Where it is none of those that are compared with anyway."""
    found = _needs("discriminant_distance_above", distance=1, bits=bits)
    assert ("all", 1, roundings) == (found[-1].over, found[-1].pairs, found[-1].roundings)


def test_checkpoints_of_a_training_are_counted() -> None:
    """Where they are not known it is said why."""
    known = _needs("stable_along_training", within=2, checkpoints={0: "begun", 60: "done"})
    lost = _needs("stable_along_training", within=2, checkpoints="run: no such folder")
    assert (2, "") == (known[-1].others, known[-1].words)
    assert ((),) == (unforeseen_of(known),)
    assert (
        "the other checkpoints of the training, each as long as this model: run: no such folder",
    ) == unforeseen_of(lost)


def test_local_contraction_needs_positions_of_prompts() -> None:
    """As many as the call says; no neighbors are looked for."""
    found = _needs("local_colipschitz_above", layer=[1, 4], positions=7)
    assert {"load", "capture", "resolution", "contraction"} == {one.kind for one in found}
    assert Need("contraction", (1, 4), prompts=5, tokens=7) == found[-1]
    assert () == unforeseen_of(found)


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("local_colipschitz_above", "prompts"),
        ("local_colipschitz_above", "positions"),
        ("discriminant_distance_above", "pairs"),
        ("sipit_recovers", "tokens"),
    ],
)
@pytest.mark.parametrize("given", [0, -2, True])
def test_a_number_that_the_check_refuses_is_not_planned(check: str, name: str, given: int) -> None:
    """Work below nothing would be taken off that of others."""
    with pytest.raises(OptionError, match=f"{name}={given}"):
        _needs(check, **{name: given})


def test_local_contraction_needs_no_final_norm_unless_asked() -> None:
    """As the check does, which leaves it out of the layers of the config."""
    assert "norm" not in _needs("local_colipschitz_above", alpha=0.1)[-1].layers
    assert ("norm",) == _needs("local_colipschitz_above", alpha={"norm": 0.1})[-1].layers


def test_without_either_the_config_names_them() -> None:
    """All of them."""
    found = _needs("no_collisions")
    assert {(1, 2, 3, 4, "norm")} == {one.layers for one in found if one.kind == "geometry"}


def test_some_checks_look_at_the_embedding_too() -> None:
    """Layer 0 stands beside the config's layers."""
    found = _needs("one_step_distinct")
    assert {(0, 1, 2, 3, 4, "norm")} == {one.layers for one in found if one.kind == "tables"}


def test_repetitions_need_resolutions_alone() -> None:
    """No prompt of the set is captured for them."""
    found = _needs("no_repetition_collapse", n=8, layer=2)
    assert {"load", "resolution", "first"} == {one.kind for one in found}
    assert {(), (2,)} == {one.layers for one in found}


def test_sipit_needs_its_prompts_and_certificates() -> None:
    """One need a layer, with the numbers of the call and the defaults of the check."""
    found = [
        one for one in _needs("sipit_recovers", layer=[1, 4], certify=7) if one.kind == "sipit"
    ]
    assert [
        Need("sipit", (1,), prompts=20, tokens=20, certify=7),
        Need("sipit", (4,), prompts=20, tokens=20, certify=7),
    ] == found


def test_a_comparison_needs_a_second_model() -> None:
    """Loaded, captured and measured like the first."""
    other = {one.kind for one in _needs("margin_retained", fraction=0.5) if one.reference}
    assert {"load", "capture", "resolution", "geometry"} == other


def test_next_tokens_need_both_models_and_no_layer() -> None:
    """Their prompts and tokens are those of the call."""
    needs = needs_of(Asked("next_token_kept", {"kl": 0.1, "prompts": 50}), 4, "all")
    assert ["load", "load", "next_token"] == [one.kind for one in needs]
    assert [False, True, True] == [one.reference for one in needs]
    assert (50, 128, ()) == (needs[2].prompts, needs[2].tokens, needs[2].layers)


def test_releases_of_the_config_are_one_walk() -> None:
    """A test that names one of them asks for all of its size; others are walked by themselves."""
    configs = ["identity@4", "permute@-1", "identity@2 last"]
    asked = Asked("utility_kept", {"release": "identity@-1", "prompts": 5, "free_running": 0})
    found = [one for one in needs_of(asked, 4, "all", configs) if one.kind == "release"]
    assert [
        (("identity@4", "permute@4"), 5, 20, 0),
        (("identity@2 last",), 5, 3, 0),
    ] == [(one.releases, one.prompts, one.tokens, one.free_running) for one in found]


def test_a_layer_that_is_not_there_is_refused() -> None:
    """As the check would refuse it."""
    with pytest.raises(LayerError, match="layer 9"):
        _needs("no_collisions", layer=9)
