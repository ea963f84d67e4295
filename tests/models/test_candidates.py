"""Candidate tokens after one prefix: in bounded batches, side by side or a row each."""

import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.candidate_passes import CandidateLimits
from pytest_injectivity.testing import tiny_decoder
from tests.models.rows import FAMILIES, Relative, random_rows
from tests.repetitions import SOME_FAMILIES, mostly_slow


def test_candidates_are_batched_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows beside a long prefix, more beside a short one; never none."""
    sizes = []
    decoder = tiny_decoder("gpt2")
    states = decoder.states
    monkeypatch.setattr(
        decoder,
        "states",
        lambda ids, *args, **named: sizes.append(len(ids)) or states(ids, *args, **named),
    )
    prefix = decoder.prefix(torch.arange(10), 2)
    assert 2 * 2 * 10 * 16 * 4 == prefix.nbytes  # 2 layers of keys and values, 10 rows of 16 floats
    for budget in (1, 7 * prefix.nbytes, 1000 * prefix.nbytes):
        decoder.limits = CandidateLimits(cpu_bytes=budget)
        decoder.candidates(prefix, torch.arange(20), [1], side_by_side=False)
    assert [*[1] * 20, 7, 7, 6, 20] == sizes


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
@pytest.mark.parametrize("float64", [False, True])
def test_candidates_side_by_side_are_those_of_a_row_each(
    family: str,
    float64: bool,  # noqa: FBT001
    relative: Relative,
) -> None:
    """Any number of them, full rows and not, at every layer; in true float64 to its last places."""
    decoder = tiny_decoder(family, layers=3)
    decoder = decoder.as_float64() if float64 else decoder
    decoder.limits = CandidateLimits(side_by_side=4, side_rows=2)
    start, tokens = random_rows(13, 21)
    layers: list[Layer] = [0, *decoder.layers]
    prefix = decoder.prefix(start, "norm")
    assert [0, 1, 2, 3, "norm"] == layers
    for some in (tokens, tokens[:1], tokens[:3]):
        expected = decoder.candidates(prefix, some, layers, side_by_side=False)
        found = decoder.candidates(prefix, some, layers)
        for layer in layers:
            assert relative(found[layer], expected[layer]) <= (1e-14 if float64 else 2e-6)


def test_side_by_side_is_used_where_the_family_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full attention by PyTorch's own kernel; not past a sliding window, nor in a recurrence."""
    taking = {family for family in FAMILIES if tiny_decoder(family).masks}
    assert {"gpt2", "gpt_neox", "opt", "llama", "qwen2", "qwen3", "falcon"} <= taking
    assert not {"gpt_neo", "mistral", "gemma2", "gemma3_text", "phi3", "mamba"} & taking
    assert tiny_decoder("mistral", sliding_window=None).masks
    assert not tiny_decoder("falcon", alibi=True).masks
    rows = []
    decoder = tiny_decoder("llama")
    monkeypatch.setattr(decoder, "states", lambda *_, **__: rows.append(1))
    decoder.candidates(decoder.prefix(torch.arange(4), 2), torch.arange(64), [2])
    assert [] == rows


def test_a_candidate_that_is_not_finite_spoils_no_other_beside_it() -> None:
    """Zero times NaN is NaN: they are then computed in a row each."""
    decoder = tiny_decoder("llama")
    prefix = decoder.prefix(torch.arange(5), 2)
    expected = decoder.candidates(prefix, torch.arange(64), [2])[2]
    decoder.parts.embeddings.weight[63] = torch.nan
    found = decoder.candidates(prefix, torch.arange(64), [2])[2]
    assert found[63].isnan().all()
    assert torch.allclose(expected[:63], found[:63], atol=1e-5)
