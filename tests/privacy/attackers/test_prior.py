import numpy as np
import pytest
import torch

from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.attackers.prior import PriorAttacker
from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.attacks import attacks, case, drawn_prompts


def _own_text(decoder: Decoder, count: int, length: int) -> tuple[tuple[int, ...], ...]:
    """Prompts drawn from the model itself."""
    draw = np.random.default_rng(0)
    prompts = []
    for _ in range(count):
        ids = [int(draw.integers(decoder.vocab_size))]
        while len(ids) < length:
            chances = decoder.next_token_logits(torch.tensor(ids)).double().softmax(dim=0)
            ids.append(int(draw.choice(len(chances), p=chances.numpy())))
        prompts.append(tuple(ids))
    return tuple(prompts)


@pytest.mark.parametrize("release", ["gaussian(sigma=1)", "lowrank(rank=15, sigma=2)"])
def test_the_posterior_is_likelihood_times_probability(release: str) -> None:
    """Brute force over the vocabulary: noise density times next-token probability."""
    decoder, prompts = tiny_decoder("gpt2", std=0.8), drawn_prompts(3, 2)
    sent = case(decoder, "1", [release], prompts)
    found = attacks(decoder, "1", [release], prompts, attackers=(PriorAttacker(),), keep_ids=True)[
        release, "prior", True
    ]
    one = sent.releases[release]
    assert [2, 2, 2] == [len(rows) for rows in sent.observed.rows]
    for ids, rows, named in zip(prompts, sent.observed.rows, found.ids, strict=True):
        for at, row in enumerate(one.apply(rows, draws(0, ids))):
            nu = sent.nu[min(at, 1)]  # type: ignore[index]
            inverse = torch.linalg.inv(one.noise.covariance(nu))
            apart = (
                OneStep.of(decoder, 1, ids[:at])(torch.arange(decoder.vocab_size)).double()
                - row.double()
            )
            posterior = -torch.einsum("vi,ij,vj->v", apart, inverse, apart) / 2
            if at:
                prefix = torch.tensor(ids[:at])
                posterior += decoder.next_token_logits(prefix).double().log_softmax(dim=0)
            assert int(posterior.argmax()) == named[at]


def test_the_prior_reads_more_of_the_models_own_text() -> None:
    """Where noise leaves several tokens possible, the model's expectation decides."""
    decoder, release = tiny_decoder("gpt2", std=0.8), "gaussian(sigma=10)"
    prompts = _own_text(decoder, 10, 3)
    found = attacks(
        decoder,
        "1",
        [release],
        prompts,
        attackers=(MahalanobisAttacker(), PriorAttacker()),
        free_running=0,
    )
    without, with_prior = (
        found[release, name, True].token_rate for name in ("mahalanobis", "prior")
    )
    assert without < with_prior


def test_tokens_of_one_image_are_teacher_forced_apart_by_the_prior() -> None:
    """Of two tokens with equal embedding rows the more probable one is the answer."""
    decoder = plant_equal_embeddings(tiny_decoder("llama", std=0.8), kept=3, copied=7)
    prompts = [(first, token) for first in (1, 2) for token in (3, 7)]
    found = attacks(
        decoder,
        "1",
        ["identity"],
        prompts,
        attackers=(ArgminAttacker(), PriorAttacker()),
        free_running=0,
        keep_ids=True,
    )
    for (first, _), named in zip(prompts, found["identity", "prior", True].ids, strict=True):
        logits = decoder.next_token_logits(torch.tensor([first]))
        assert (first, 3 if logits[3] > logits[7] else 7) == named
    assert {3} == {named[1] for named in found["identity", "argmin", True].ids}
