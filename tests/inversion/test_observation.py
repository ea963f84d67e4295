"""What first tokens say of states from elsewhere, against states whose error is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.inversion.observation import MOST_RELATIVE, Match, observe_first
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, plant_equal_embeddings, tiny_decoder

IDS = [[at, 3 * at % 40, 7, at + 20, *range(at % 3)] for at in range(6)]
NU = (1e-5, 1e-5)


def _states(decoder: Decoder, layer: int = 2, ids: list[list[int]] = IDS) -> list[Tensor]:
    return [observe(decoder, prompt, [layer])[layer] for prompt in ids]


def _off(states: list[Tensor], relative: float, seed: int = 0) -> list[Tensor]:
    """Each state moved by exactly this share of its norm, in a random direction."""
    generator = torch.Generator().manual_seed(seed)
    moved = []
    for one in states:
        way = torch.randn(one.shape, generator=generator)
        share = relative * one.norm(dim=1, keepdim=True) / way.norm(dim=1, keepdim=True)
        moved.append(one + share * way)
    return moved


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return tiny_decoder("llama")


@given(relative=st.floats(1e-4, 0.9 * MOST_RELATIVE), seed=st.integers(0, 5))
@settings(max_examples=4)
def test_the_error_is_estimated_from_the_first_tokens(relative: float, seed: int) -> None:
    """In units of a state's norm, and twice that after them: no state lies farther off."""
    decoder = tiny_decoder("llama")
    exact = _states(decoder)
    states = _off(exact, relative, seed)
    found = observe_first(decoder, states, 2, nu=NU)
    assert (Match.YES, 6, 6, 0) == (found.match, found.looked_at, found.verified, found.position)
    assert relative == pytest.approx(found.relative, rel=1e-2)
    first = max(float((one[0] - other[0]).norm()) for one, other in zip(states, exact, strict=True))
    assert first == pytest.approx(found.error[0], rel=1e-2)
    norms = torch.cat([one[1:] for one in states]).norm(dim=1)
    assert 2 * relative * float(norms.median()) == pytest.approx(found.error[1], rel=1e-2)
    assert found.eps == (found.error[0] + NU[0], found.error[1] + NU[1])
    inversion = recover_all(decoder, states, 2, eps=found.eps, nu=NU)
    assert all(r.exact(ids) for r, ids in zip(inversion.recoveries, IDS, strict=True))


def test_exact_states_have_no_error_but_the_floor(decoder: Decoder) -> None:
    """The table's own rows differ from them by rounding at most."""
    found = observe_first(decoder, _states(decoder), 2, nu=NU)
    assert (Match.YES, 6) == (found.match, found.verified)
    assert found.residual < NU[0]
    assert max(found.eps) < 3 * NU[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_coarser_dtype_is_an_error_of_its_own(decoder: Decoder, dtype: torch.dtype) -> None:
    """At least its unit round-off, however luckily the first states were rounded."""
    states = [one.to(dtype) for one in _states(decoder)]
    states = [torch.cat([_states(decoder)[0][:1].to(dtype), one[1:]]) for one in states]
    found = observe_first(decoder, states, 2, nu=NU)
    assert found.relative is not None
    assert found.relative >= torch.finfo(dtype).eps / 2
    bare = observe_first(decoder, [one.float() for one in states], 2, nu=NU)
    assert bare.relative is not None
    assert bare.relative < found.relative


@pytest.mark.parametrize("seed", range(1, 6))
def test_states_of_another_model_are_recognised(decoder: Decoder, seed: int) -> None:
    """Nothing verifies, and nothing is near either; the numbers say by how much."""
    found = observe_first(decoder, _states(tiny_decoder("llama", seed=seed)), 2, nu=NU)
    assert (Match.NO, 0) == (found.match, found.verified)
    assert found.residual > 100 * found.resolution


def test_states_of_another_layer_are_recognised(decoder: Decoder) -> None:
    """As those of another model."""
    assert Match.NO is observe_first(decoder, _states(decoder, 1), 2, nu=NU).match


def test_an_error_beyond_the_cap_is_no_error(decoder: Decoder) -> None:
    """Any state has a nearest candidate: only what the file says may be larger."""
    states = _off(_states(decoder), 1.5 * MOST_RELATIVE)
    found = observe_first(decoder, states, 2, nu=NU)
    assert Match.NO is found.match
    largest = 1.5 * MOST_RELATIVE * max(float(one.norm(dim=1).max()) for one in states)
    told = observe_first(decoder, states, 2, nu=NU, given=(largest,))
    assert (Match.YES, None, (largest, largest)) == (told.match, told.relative, told.error)


def test_a_given_error_is_taken_by_position(decoder: Decoder) -> None:
    """The last serves all after it, and the floor of each comes on top."""
    found = observe_first(decoder, _states(decoder), 2, nu=(0.25, 0.125), given=(3.0, 2.0, 1.0))
    assert ((3.0, 2.0, 1.0), (3.25, 2.125, 1.125)) == (found.error, found.eps)


def test_an_error_grows_with_the_length_of_a_sink_unless_it_was_given(decoder: Decoder) -> None:
    """What evaluations differ by grows either way."""
    states = _states(decoder)
    for stated in (None, (3.0,)):
        found = observe_first(decoder, states, 2, nu=(0.25, 0.125), given=stated)
        tolerance = found.tolerance((2.0, 1.0))
        assert found.eps[-1] == tolerance.at(5, 8.0)
        grown = 0.0 if stated is None else 3.0
        assert grown + 100 * (found.eps[-1] - grown) == pytest.approx(tolerance.at(5, 100.0))


def test_a_given_error_that_is_too_small_is_unclear(decoder: Decoder) -> None:
    """The tokens are near and do not verify: the file may be wrong about its error."""
    found = observe_first(decoder, _off(_states(decoder), 0.01), 2, nu=NU, given=(1e-6,))
    assert (Match.UNCLEAR, 0) == (found.match, found.verified)


def test_tokens_that_are_almost_equal_leave_the_error_open() -> None:
    """A nearest candidate with a rival as near cannot be taken for the truth."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    decoder.parts.embeddings.weight[9, 0] *= 1 + 2.0**-22
    found = observe_first(decoder, _states(decoder, ids=[[3, 5, 6], [9, 5]]), 2, nu=NU)
    assert (Match.UNCLEAR, 0) == (found.match, found.verified)
    one = observe_first(decoder, _states(decoder, ids=[[3, 5, 6], [4, 5]]), 2, nu=NU)
    assert (Match.YES, 1) == (one.match, one.verified)


def test_a_first_token_with_a_twin_tells_the_error() -> None:
    """Whichever of the two it is, its state is the same."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    found = observe_first(decoder, _states(decoder, ids=[[3, 5, 6], [9, 5]]), 2, nu=NU)
    assert (Match.YES, 2) == (found.match, found.verified)


def test_special_tokens_with_a_twin_are_passed_over() -> None:
    """The special token is the larger id of its class."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 60)
    states = _states(decoder, ids=[[60, 5, 6], [60, 7]])
    found = observe_first(decoder, states, 2, nu=NU, special=(60,))
    assert (Match.YES, 1, 2) == (found.match, found.position, found.verified)


def test_special_tokens_are_passed_over(decoder: Decoder) -> None:
    """Where all prompts begin with them: the error is that of the token after."""
    ids = [[60, 61, *prompt] for prompt in IDS]
    states = _states(decoder, ids=ids)
    for at, relative in enumerate((0.001, 0.002, 0.01)):
        for one in states:
            one[at:] = _off([one[at:]], relative)[0]
    found = observe_first(decoder, states, 2, nu=NU, special=(60, 61))
    assert (Match.YES, 2, 6, 4) == (
        found.match,
        found.position,
        found.verified,
        len(found.error),
    )
    assert 0.01 == pytest.approx(found.relative, rel=0.1)
    assert found.error[0] < found.error[1] < found.error[2]


@pytest.mark.parametrize("ids", [[[60, 1, 2], [5, 1, 2]], [[60], [60, 1]]])
def test_prompts_that_do_not_all_go_on_are_looked_up_at_once(
    decoder: Decoder, ids: list[list[int]]
) -> None:
    """One that begins otherwise, or has no token after the special one."""
    found = observe_first(decoder, _states(decoder, ids=ids), 2, nu=NU, special=(60,))
    assert (Match.YES, 0, 2) == (found.match, found.position, found.verified)


def test_so_many_prompts_are_looked_up(decoder: Decoder) -> None:
    """Each costs as much as a pass over the table."""
    states = _states(decoder)
    states[2:] = [torch.randn_like(one) for one in states[2:]]
    found = observe_first(decoder, states, 2, nu=NU, looked_at=2)
    assert (2, 2) == (found.looked_at, found.verified)


def test_states_of_norm_zero_divide_nothing() -> None:
    """A token whose state is the origin is found, with no error."""
    rows = torch.eye(8)
    rows[3] = 0.0
    decoder = additive_decoder(rows, torch.zeros(4, 8))
    found = observe_first(decoder, _states(decoder, 1, [[3], [3]]), 1, nu=NU)
    assert (Match.YES, 0.0, (0.0, 0.0)) == (found.match, found.relative, found.error)
