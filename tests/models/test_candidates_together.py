from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pytest_injectivity.models.candidate_passes import CandidateLimits
from pytest_injectivity.models.candidates_together import candidates_behind
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import tiny_decoder

PREFIXES = [[1, 2], [3, 4], [1, 5]]
TOKENS = [[7], [8, 9, 10], [11, 12]]


def _behind(
    decoder: Decoder, tokens: Sequence[Sequence[int]] = TOKENS
) -> list[dict[object, Tensor]]:
    prefixes = [decoder.prefix(torch.tensor(ids), 2) for ids in PREFIXES]
    found = candidates_behind(decoder, prefixes, [torch.tensor(ids) for ids in tokens], [1, 2])
    return [dict(one) for one in found]


def _alone(
    decoder: Decoder, tokens: Sequence[Sequence[int]] = TOKENS
) -> list[dict[object, Tensor]]:
    return [
        dict(
            decoder.candidates(
                decoder.prefix(torch.tensor(ids), 2), torch.tensor(own), [1, 2], side_by_side=False
            )
        )
        for ids, own in zip(PREFIXES, tokens, strict=True)
    ]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "falcon", "mamba"])
@pytest.mark.parametrize("side_by_side", [1, 2, 128])
def test_states_are_those_behind_each_prefix_alone(family: str, side_by_side: int) -> None:
    """Whether lists share a pass or are too long for it, and whether the attention takes masks."""
    decoder = tiny_decoder(family)
    decoder.limits = CandidateLimits(side_by_side=side_by_side, side_rows=2)
    torch.testing.assert_close(_behind(decoder), _alone(decoder), atol=1e-5, rtol=1e-5)


def test_lists_share_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three prefixes take one pass."""
    decoder, passes = tiny_decoder("llama"), []
    run = decoder.continued
    monkeypatch.setattr(decoder, "continued", lambda *a, **k: passes.append(a) or run(*a, **k))
    _behind(decoder)
    assert 1 == len(passes)


def test_a_candidate_that_is_not_finite_touches_no_other() -> None:
    """Nor those of other prefixes in the same pass."""
    decoder = tiny_decoder("llama")
    with torch.no_grad():
        decoder.parts.embeddings.weight[9] = torch.nan
    found, expected = _behind(decoder), _alone(decoder)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, equal_nan=True)
