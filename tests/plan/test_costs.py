from dataclasses import replace

import pytest

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.plan.attack_work import Walk
from pytest_injectivity.plan.costs import Costs
from pytest_injectivity.plan.rates import Rates, Search
from pytest_injectivity.plan.sizes import Sizes

SIZES = Sizes(10, 64, 1000, 1_000_000, 936_000, "bfloat16", 128)
RATES = Rates(
    forward=0.5,
    token=0.01,
    candidate=0.001,
    float64=3.0,
    neighbors=Search(1.0, 0.5),
    ratios=Search(2.0, 1.0),
    words="by hand",
)


def _costs(prompts: int = 4, length: int = 16) -> Costs:
    return Costs(SIZES, [tuple(range(length))] * prompts, RATES, 4096)


def test_a_capture_costs_its_passes_and_its_tokens() -> None:
    """Four prompts of 16 tokens are one pass of 64 tokens, and leave a row a layer."""
    phase = _costs().capture([1, 10])
    assert 64 == phase.token_forwards
    assert pytest.approx(0.5 + 0.64) == phase.seconds
    assert 4 * 2 * 64 * 2 == phase.bytes


def test_a_shallow_capture_runs_a_part_of_the_blocks() -> None:
    """A pass ends at the deepest layer asked for."""
    assert pytest.approx(0.3 * (0.5 + 0.64)) == _costs().capture([1, 3]).seconds
    assert pytest.approx(0.5 + 0.64) == _costs().capture(["norm"]).seconds


def test_a_search_compares_all_pairs() -> None:
    """Of 4 rows 6 pairs, and the halves and quarters of the trend."""
    assert pytest.approx(2 * 1.3125 * (1 + 0.5 * 6)) == _costs().neighbors([1, 2]).seconds
    assert pytest.approx(2 * 1.3125 * (2 + 1.0 * 6)) == _costs().ratios([1, 2]).seconds


def test_a_certificate_is_a_pass_over_the_vocabulary() -> None:
    """Two certificates more are two vocabularies of candidates more, at the share of the blocks."""
    few, more = (_costs().sipit(5, prompts=2, tokens=10, certify=one) for one in (5, 10))
    # A tenth of the positions is the first one, which the table certifies.
    assert 4500 == more.token_forwards - few.token_forwards
    assert pytest.approx(4500 * 0.001 * 0.5) == more.seconds - few.seconds


def test_no_more_positions_are_certified_than_there_are() -> None:
    """The default of 100 is more than two prompts of ten tokens have."""
    some, all_ = (_costs().sipit(5, prompts=2, tokens=10, certify=one) for one in (20, 100))
    assert all_ == some


def test_certificates_by_budget_cost_what_the_recovery_does() -> None:
    """At least one, and never more than the positions that the table does not certify."""
    none, budget, every = (
        _costs().sipit(5, prompts=2, tokens=10, certify=one) for one in (0, None, 100)
    )
    assert none.token_forwards <= budget.token_forwards - none.token_forwards
    assert budget.token_forwards < 2 * none.token_forwards + 1000
    assert budget.token_forwards < every.token_forwards


def test_a_large_vocabulary_has_no_table() -> None:
    """Past the largest table the first position is searched like the others."""
    huge = replace(_costs(), sizes=replace(SIZES, vocab=2**20))
    phase = huge.sipit(10, prompts=1, tokens=10, certify=0)
    assert 2**20 > phase.token_forwards


def test_next_tokens_are_read_by_two_models() -> None:
    """Of at most so many prompts and tokens, and once more from the states of each layer."""
    costs = _costs()
    phase = costs.next_tokens(prompts=3, tokens=8)
    times = 2 + min(costs.sizes.n_layers + 1, 12)
    assert (2 + times) * 3 * 8 == phase.token_forwards
    passes = 2 + times * 3
    assert (
        pytest.approx(passes * 0.5 + (2 + times) * 24 * 0.01 + (1 + times) * 24 * 1000 * 6e-8)
        == phase.seconds
    )
    assert "3 prompts of at most 8 tokens by both models" in phase.what


def test_every_phase_names_what_makes_it_shorter() -> None:
    """All but the resolution, whose sample is fixed, have a flag or an argument."""
    costs = _costs()
    phases = [
        costs.capture([1]),
        costs.neighbors([1]),
        costs.ratios([1]),
        costs.sipit(1, prompts=2, tokens=2, certify=1),
        costs.cross(1, prompts=2, tokens=2),
        costs.next_tokens(prompts=2, tokens=2),
        costs.attacks(Walk([Place(1)], 2, 2, 0)),
        costs.evaluations([3], [1]),
        costs.tables([1], places=1, name="one-step tables"),
        costs.jacobians([1], places=1),
    ]
    assert all(phase.shorter_by for phase in phases)
    assert "" == costs.resolution([1]).shorter_by


def test_a_jacobian_costs_a_row_for_each_coordinate() -> None:
    """A pass to the deepest layer, and two backward passes from each, in float64."""
    costs = _costs()
    layers = costs.sizes.n_layers
    shallow, both = costs.jacobians([1], places=3), costs.jacobians([1, layers], places=3)
    rows = 3 * costs.sizes.hidden
    second = costs.rates.token * costs.rates.float64
    assert pytest.approx(rows * second * 3 / layers) == shallow.seconds
    assert pytest.approx(rows * second * (1 + 2 / layers + 2)) == both.seconds
    assert f"3 positions, {costs.sizes.hidden} rows of each" in shallow.what


def test_positions_are_at_most_those_of_the_prompts() -> None:
    """The longest ones have the most."""
    costs = _costs()
    lengths = sorted(map(len, costs.prompts), reverse=True)
    assert sum(lengths) == costs.positions(99, 10**6)
    assert 2 == costs.positions(1, 2)


def test_half_precision_has_rivals_to_evaluate() -> None:
    """About one ambiguous answer a prompt, nine tokens in eight ways; float32 has none."""
    half, full = (
        replace(_costs(), sizes=replace(SIZES, dtype=dtype)).sipit(
            10, prompts=3, tokens=10, certify=0
        )
        for dtype in ("bfloat16", "float32")
    )
    assert 3 * 9 * 8 * 5 == half.token_forwards - full.token_forwards


def test_evaluations_cost_passes_of_few_prompts() -> None:
    """Four passes a prompt, whatever it holds, and its padded tokens five times."""
    phase = _costs().evaluations([3, 9], [2, 10])
    assert pytest.approx(0.5 * 8 + 0.01 * phase.token_forwards) == phase.seconds
    assert 5 * (8 + 16) <= phase.token_forwards


def test_prompts_of_one_token_share_passes() -> None:
    """One pass each, that in which it is alone (`test_pairs_of_different_components_share_passes`)."""
    phase = _costs().evaluations([1, 1], [10])
    assert pytest.approx(0.5 * 2 + 0.01 * phase.token_forwards) == phase.seconds


def test_position_0_is_a_phase_of_its_own() -> None:
    """Two passes of each single token, and no token of the prompts'."""
    first, later = _costs().first_resolution([1]), _costs().resolution([1])
    more = replace(_costs(), prompts=[*_costs().prompts] * 40)
    assert first.token_forwards == more.first_resolution([1]).token_forwards
    assert later.token_forwards != more.resolution([1]).token_forwards
    assert first.token_forwards > 2 * SIZES.vocab * 0.9 > 0


def test_blocks_on_disk_are_read_once_for_a_capture_and_in_sweeps_for_a_resolution() -> None:
    """In place of once a pass."""
    read = replace(RATES, forward=100.0)
    prompts = [tuple(range(16))] * 600
    whole, streamed = (Costs(SIZES, prompts, read, 64, streamed=one) for one in (False, True))
    assert pytest.approx(100.0, rel=0.01) == (
        streamed.capture([10]).seconds - streamed.capture_passes.tokens * read.token
    )
    assert whole.capture([10]).seconds > 50 * 100.0
    assert streamed.first_resolution([10]).seconds < 0.2 * whole.first_resolution([10]).seconds
    assert 0 == streamed.resolution([10]).bytes


def test_assumed_rates_of_blocks_on_disk_have_what_a_pass_reads() -> None:
    """All blocks, in bytes of the dtype."""
    memory, disk = Rates.assumed(SIZES, 1.0), Rates.assumed(SIZES, 1.0, read=1e6)
    assert pytest.approx(2 * (1_000_000 - 64_000) / 1e6) == disk.forward - memory.forward
    assert memory.token == disk.token
    apart = SIZES.vocab * (disk.candidate - memory.candidate)
    assert pytest.approx(disk.forward - memory.forward) == apart


def test_assumed_rates_need_no_machine() -> None:
    """Twice the TFLOP/s halve what tokens and products take."""
    slow, fast = Rates.assumed(SIZES, 1.0), Rates.assumed(SIZES, 2.0)
    assert pytest.approx(2.0) == slow.token / fast.token
    assert 2 * (1_000_000 - 64_000) / 1e12 == slow.token
    assert slow.neighbors.pair > fast.neighbors.pair
