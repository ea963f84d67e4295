"""Pairs near the resolution: decided by eight evaluations of each prompt."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.last_states import WAYS, evaluate_last
from pytest_injectivity.states.pair_decisions import Decision, Kind, decide, decide_pairs
from pytest_injectivity.states.scaled import Scale
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.repetitions import mostly_slow
from tests.resolutions import resolution_of

LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")
# 1 and 3 differ from 0 and 2 only where 7 stands for 3; 4 is a prompt of its own.
PROMPTS = [[5, 3, 9], [5, 7, 9], [*range(40), 3, 1], [*range(40), 7, 1], [8] * 61, [3], [7]]


def slow(left: np.ndarray, right: np.ndarray, sigma: np.ndarray, unit: float) -> Decision:
    """``D`` and ``S`` in both distances by loops over ways."""

    def norm(row: np.ndarray) -> float:
        return float(np.sqrt(np.sum(row**2)))

    found = []
    for scale in (np.ones_like(sigma), sigma):
        sides = [[row / scale for row in side] for side in (left, right)]
        apart = min(norm(one - other) for one in sides[0] for other in sides[1])
        itself = max(norm(one - other) for side in sides for one in side for other in side)
        rounding = unit * max(norm(one) for side in sides for one in side)
        found += [apart, max(itself, rounding)]
    if any((one == other).all() for one, other in zip(left, right, strict=True)):
        kind = Kind.COLLISION
    elif found[0] > found[1] or found[2] > found[3]:
        kind = Kind.RESOLVED
    else:
        kind = Kind.UNRESOLVED
    return Decision(kind, *found)


@given(
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 0.01, 1.0]),
    apart=st.sampled_from([0.0, 0.005, 0.5, 20.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
)
def test_a_decision_is_that_of_a_slow_loop(
    seed: int, spread: float, apart: float, dtype: torch.dtype
) -> None:
    """Random evaluations around two points, some in one place."""
    generator = torch.Generator().manual_seed(seed)
    point = torch.randn(6, generator=generator)
    left = (point + spread * torch.randn(8, 6, generator=generator)).to(dtype)
    right = (point + apart + spread * torch.randn(8, 6, generator=generator)).to(dtype)
    sigma = torch.rand(6, generator=generator).double().numpy() + 0.1
    (found,) = decide({0: left, 1: right}, [(0, 1)], Scale(sigma))
    unit = torch.finfo(dtype).eps / 2
    expected = slow(left.double().numpy(), right.double().numpy(), sigma, unit)
    assert expected.kind is found.kind
    numbers = ("apart", "itself", "scaled_apart", "scaled_itself")
    for name in numbers:
        assert getattr(expected, name) == pytest.approx(getattr(found, name), rel=1e-9)


def test_an_outlier_coordinate_hides_a_pair_from_the_euclidean_distance_only() -> None:
    """It rounds by 10, the others by 0.01: 1 apart in one of these is resolved when scaled."""
    left, right = torch.zeros(8, 3), torch.zeros(8, 3)
    left[0, 0], right[:, 1] = 10.0, 1.0
    (found,) = decide({0: left, 1: right}, [(0, 1)], Scale(np.array([10.0, 0.01, 0.01])))
    assert (Kind.RESOLVED, "scaled") == (found.kind, found.by)
    assert found.apart < found.itself


def test_one_unit_in_the_last_place_is_no_knowledge() -> None:
    """With the same bits each time a prompt is still as far from itself as one rounding."""
    left = torch.ones(8, 4)
    right = left.clone()
    right[:, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    (found,) = decide({4: left, 2: right}, [(2, 4)], Scale(np.full(4, 2.0**-24)))
    assert (Kind.UNRESOLVED, "") == (found.kind, found.by)
    assert 2 * 2.0**-24 == pytest.approx(found.itself, rel=1e-6)


def planted(family: str, context: int, dtype: torch.dtype) -> Decoder:
    """A decoder in which tokens 3 and 7 have one embedding row."""
    decoder = tiny_decoder(family, context=context, dtype=dtype)
    return plant_equal_embeddings(decoder, kept=3, copied=7)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("context", [64, 61])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_planted_pairs_collide_and_no_others(family: str, context: int, dtype: torch.dtype) -> None:
    """At every layer, in half precision too, and at the end of an odd context."""
    prompts = [*PROMPTS, [7, *[8] * 60], [3, *[8] * 60]]
    decoder = planted(family, context, dtype)
    resolutions = resolution_of(decoder, prompts, LAYERS)
    pairs = [(0, 1), (2, 3), (7, 8), (5, 6), (0, 4), (1, 2)]
    found = decide_pairs(decoder, prompts, dict.fromkeys(LAYERS, pairs), resolutions)
    assert set(LAYERS) == set(found)
    for decisions in found.values():
        kinds = [one.kind for one in decisions]
        assert [Kind.COLLISION] * 4 == kinds[:4]
        assert [Kind.RESOLVED] * 2 == kinds[4:]


def test_each_prompt_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pairs it is in, and no deeper than its pairs' layers."""
    decoder = tiny_decoder("gpt2")
    resolutions = resolution_of(decoder, PROMPTS, LAYERS)
    alone: list[tuple[int, Layer]] = []
    run = decoder.states

    def states(ids: torch.Tensor, layers: list[Layer], **kept: object) -> object:
        if len(ids) == 1 and kept.get("prefix") is None and ids.shape[1] % 8:
            alone.append((ids.shape[1], layers[-1]))
        return run(ids, layers, **kept)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "states", states)
    pairs: dict[Layer, list[tuple[int, int]]] = {1: [(0, 4), (1, 4)], 2: [(0, 1)]}
    decide_pairs(decoder, PROMPTS, pairs, resolutions)
    assert [(3, 2), (3, 2), (61, 1)] == sorted(alone, key=lambda one: one[0])


class _Passes:
    """Records the shape and the rows of each pass of whole prompts."""

    def __init__(self, decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes: list[torch.Tensor] = []
        run = decoder.states

        def states(ids: torch.Tensor, layers: list[Layer], **kept: object) -> object:
            self.passes.append(ids)
            return run(ids, layers, **kept)  # type: ignore[arg-type]

        monkeypatch.setattr(decoder, "states", states)

    def shapes(self, prompt: list[int]) -> list[tuple[int, ...]]:
        """The shapes of the passes that a prompt is in."""
        wanted = torch.tensor(prompt)
        return [
            tuple(ids.shape)
            for ids in self.passes
            if len(prompt) <= ids.shape[1] and bool((ids[:, : len(prompt)] == wanted).all(1).any())
        ]


def test_prompts_that_are_compared_share_the_shapes_of_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All but those of their own length, with prompts of another length and of another depth."""
    decoder = tiny_decoder("gpt2")
    prompts = [[5, 3, 9], [9] * 12, [8] * 33, [7] * 31]
    resolutions = resolution_of(decoder, prompts, LAYERS)
    seen = _Passes(decoder, monkeypatch)
    decide_pairs(decoder, prompts, {1: [(0, 1)], 2: [(2, 3)]}, resolutions)
    own = [{(1, len(ids))} for ids in prompts]
    shapes = [set(seen.shapes(ids)) - alone for ids, alone in zip(prompts, own, strict=True)]
    assert shapes[0] == shapes[1] == {(2, 16), (2, 19), (2, 23)}
    assert shapes[2] == shapes[3] == {(2, 48), (2, 51), (2, 55)}


def test_prompts_of_one_shape_share_passes_whether_compared_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two pairs of prompts of one padded length: four rows a pass, one of them capture's."""
    decoder = tiny_decoder("gpt2")
    prompts = [[5, 3, 9], [9] * 5, [8] * 6, [7] * 4]
    resolutions = resolution_of(decoder, prompts, LAYERS)
    seen = _Passes(decoder, monkeypatch)
    decide_pairs(decoder, prompts, {1: [(0, 1), (2, 3)]}, resolutions)
    shapes = [tuple(ids.shape) for ids in seen.passes]
    assert [2, 1, 1] == [shapes.count(shape) for shape in ((4, 16), (4, 19), (4, 23))]


def test_what_is_captured_is_the_first_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not run again, and takes part in the decision."""
    decoder = tiny_decoder("gpt2")
    prompts = [[5, 3, 9], [9] * 5]
    resolutions = resolution_of(decoder, prompts, LAYERS)
    (plain,) = decide_pairs(decoder, prompts, {1: [(0, 1)]}, resolutions)[1]
    rows = evaluate_last(decoder, prompts, [1])[1][:, 0]
    captured = {1: dict(enumerate(rows + torch.tensor([[1e-3], [0.0]])))}
    seen = _Passes(decoder, monkeypatch)
    (found,) = decide_pairs(decoder, prompts, {1: [(0, 1)]}, resolutions, captured=captured)[1]
    assert 1 == seen.shapes(prompts[0]).count((2, 16))
    assert found.itself > 100 * plain.itself
    captured[1][1] = captured[1][0]
    (found,) = decide_pairs(decoder, prompts, {1: [(0, 1)]}, resolutions, captured=captured)[1]
    assert Kind.COLLISION is found.kind


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_token_beside_that_is_not_finite_spoils_no_state(family: str) -> None:
    """Token 12 is one of the fifteen beside 9, and has a NaN in its embedding."""
    decoder = tiny_decoder(family)
    expected = evaluate_last(decoder, PROMPTS[:2], LAYERS)
    with torch.no_grad():
        decoder.parts.embeddings.weight[12, 0] = torch.nan
    found = evaluate_last(decoder, PROMPTS[:2], LAYERS)
    assert set(LAYERS) == set(found)
    for layer, rows in found.items():
        torch.testing.assert_close(rows, expected[layer], rtol=1e-4, atol=1e-5)


def test_no_pairs_are_no_work() -> None:
    """Nothing is evaluated where nothing is in doubt."""
    assert {1: []} == decide_pairs(tiny_decoder("gpt2"), PROMPTS, {1: []}, {})


def test_nan_is_equal_to_nothing() -> None:
    """Rows that are not finite are no collision."""
    states = dict.fromkeys((0, 1), torch.full((8, 2), torch.nan))
    (found,) = decide(states, [(0, 1)], Scale(np.ones(2)))
    assert Kind.UNRESOLVED is found.kind


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba", "gemma3_text"])
@pytest.mark.parametrize("longest", [None, 64])
def test_every_way_gives_the_same_state(family: str, longest: int | None) -> None:
    """In float64, up to its rounding: no way drops what another one sees."""
    decoder = tiny_decoder(family, dtype=torch.float64)
    prompts = [ids for ids in PROMPTS if len(ids) < 64]
    shapes = longest and [max(len(ids), longest - 20 * at) for at, ids in enumerate(prompts)]
    found = evaluate_last(decoder, prompts, LAYERS, longest=shapes)
    states = [decoder.states(torch.tensor([ids]), LAYERS) for ids in prompts]
    assert set(LAYERS) == set(found)
    for layer, rows in found.items():
        assert (len(prompts), len(WAYS)) == rows.shape[:2]
        for at, own in enumerate(states):
            alone = own[layer][0, -1]
            off = (rows[at] - alone).norm(dim=1) / alone.norm()
            # Mamba keeps its residual stream in float32.
            assert float(off.max()) < (1e-6 if family == "mamba" else 1e-12)


@pytest.mark.parametrize(
    ("dtype", "vocab"),
    mostly_slow(
        [*product((torch.float32, torch.bfloat16), (7, 130))],
        (torch.float32, 7),
        (torch.bfloat16, 7),
        (torch.bfloat16, 130),
    ),
)
def test_single_tokens_are_evaluated_each_in_its_own_row(dtype: torch.dtype, vocab: int) -> None:
    """Passes that many tokens share, filled up with copies, give every token its own states."""
    decoder = tiny_decoder("llama", dtype=dtype)
    prompts = [[token % decoder.vocab_size] for token in range(vocab)] + [[3, 5], [3, 5, 7]]
    found = evaluate_last(decoder, prompts, LAYERS)
    exact = decoder.as_float64()
    states = {tuple(ids): exact.states(torch.tensor([ids]), LAYERS) for ids in prompts}
    assert set(LAYERS) == set(found)
    for layer, rows in found.items():
        for at, ids in enumerate(prompts):
            alone = states[tuple(ids)][layer][0, -1]
            off = (rows[at].double() - alone).norm(dim=1) / alone.norm()
            assert float(off.max()) < 8 * torch.finfo(dtype).eps


def test_pairs_of_different_components_share_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of single tokens that no third one connects are evaluated in one call."""
    decoder = tiny_decoder("llama")
    prompts = [[token] for token in range(40)]
    resolutions = resolution_of(decoder, prompts, LAYERS)
    assert resolutions[1].of(0).distance > 0  # measured when it is asked for
    seen = _Passes(decoder, monkeypatch)
    pairs = [(at, at + 1) for at in range(0, 40, 2)]
    (decisions,) = decide_pairs(decoder, prompts, {1: pairs}, resolutions).values()
    assert len(pairs) == len(decisions)
    # Alone; all else they share.
    assert 40 == sum(len(ids) == 1 for ids in seen.passes)
    assert len(seen.passes) < 40 + 20
