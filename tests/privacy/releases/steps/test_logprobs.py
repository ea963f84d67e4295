from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.steps.logprobs import LogprobsRelease
from tests.attacks import attacks, drawn_prompts

_WIDTH = 16


def test_all_log_probabilities_are_the_logarithmic_softmax(rows: Tensor) -> None:
    """Their exponentials add up to 1."""
    sent = LogprobsRelease(_WIDTH, _WIDTH).image(rows)
    torch.testing.assert_close(sent, rows.log_softmax(dim=1))
    torch.testing.assert_close(sent.exp().sum(dim=1), torch.ones(len(rows)))


@pytest.mark.parametrize("top", [1, 3, 15])
def test_the_most_likely_are_sent(rows: Tensor, top: int) -> None:
    """The others are said to be no larger than the smallest of them."""
    sent, whole = LogprobsRelease(_WIDTH, top).image(rows), rows.log_softmax(dim=1)
    largest = whole.topk(top, dim=1)
    torch.testing.assert_close(sent.gather(1, largest.indices), largest.values)
    assert torch.equal(sent.amin(dim=1), sent.gather(1, largest.indices)[:, -1])


@pytest.mark.parametrize("text", ["logprobs", "logprobs(top=500)"])
def test_all_are_sent_where_there_are_no_more(text: str, observed: Callable[..., Observed]) -> None:
    """Or where no number is named."""
    found = observed("norm logits")
    release = bind(parse(f"{text}@norm logits"), found)
    torch.testing.assert_close(release.image(found.rows[0]), found.rows[0].log_softmax(dim=1))


@pytest.mark.parametrize("release", ["identity", "logprobs", "logprobs(top=5)"])
def test_logits_are_read(release: str, decoder: Decoder) -> None:
    """All of them, and the five most likely alone: they are states behind a matrix."""
    found = attacks(
        decoder, "norm logits", [release], drawn_prompts(4, 4), attackers=(ArgminAttacker(),)
    )
    assert 1.0 == found[release, "argmin", True].token_rate
