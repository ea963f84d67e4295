"""The one-step margin: the closest two of a prompt's continuations, by brute force."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, OptionError, PromptError
from pytest_injectivity.audit.one_step_margins import one_step_margins
from pytest_injectivity.testing import plant_equal_embeddings, plant_nan, tiny_decoder
from tests import brute_force
from tests.audits import audit_of, small_samples

IDS = [[at, 3 * at % 7, at] for at in range(1, 12)]
Made = Callable[..., Audit]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The audit of a decoder on these prompts, the resolution on two of them."""
    small_samples(monkeypatch)

    def audit(decoder: Any = None, ids: Any = IDS, **config: Any) -> Audit:
        return audit_of(tmp_path, decoder or tiny_decoder("gpt2"), ids, **config)

    return audit


def test_margins_are_those_of_brute_force(made: Made) -> None:
    """Every token after each of the prompts of smallest hash, all pairs within a prompt."""
    audit = made()
    chosen = audit.prompts.subset(4)
    tokens = torch.arange(64)[:, None]
    margins: dict[str, list[float]] = {}
    for ids in chosen.ids:
        rows = torch.cat([torch.tensor([ids]).expand(64, -1), tokens], dim=1)
        for name, layer in (("layer01", 1), ("layer02", 2), ("norm", "norm")):
            states = audit.decoder.states(rows, [layer])[layer][:, -1]
            margins.setdefault(name, []).append(float(brute_force.nearest(states)[0].min()))
    found = one_step_margins(audit, prompts=4)
    assert list(margins) == [one.layer for one in found]
    for one in found:
        assert (4, 64, audit.prompts.hash) == (one.prompts, one.continuations, one.prompt_hash)
        # The cached prefix rounds as it likes.
        assert min(margins[one.layer]) == pytest.approx(one.minimum, abs=2 * one.resolution)
        assert float(np.median(margins[one.layer])) == pytest.approx(
            one.median, abs=2 * one.resolution
        )


def test_the_seed_draws_the_tokens(made: Made) -> None:
    """A few tokens are farther apart than all of them; another seed draws others."""
    every = one_step_margins(made(layers="2"), prompts=1)[0].minimum
    few = [
        one_step_margins(made(layers="2", seed=s), prompts=1, continuations=6) for s in (0, 0, 1)
    ]
    first, again, other = (one[0].minimum for one in few)
    assert every < first == again != other
    assert 6 == few[0][0].continuations


def test_equal_embedding_rows_count_as_one_continuation(made: Made) -> None:
    """The margin is over classes, and how many tokens have a twin is said."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=7)
    found = one_step_margins(made(decoder), prompts=2)
    assert len(found) > 1
    for one in found:
        assert (1, 0, 63) == (one.twins, one.left_out, one.continuations)
        assert one.minimum is not None
        assert one.minimum > 0


def test_what_is_not_finite_is_no_margin(made: Made) -> None:
    """None, which JSON can say; layers before it keep theirs."""
    found = one_step_margins(made(plant_nan(tiny_decoder("gpt2"), 2)), prompts=2)
    assert [False, True, True] == [one.minimum is None for one in found]
    assert [False, True, True] == [one.resolution is None for one in found]


def test_prompts_that_fill_the_context_are_passed_over(made: Made) -> None:
    """They leave no room for a token; where all of them do, that is said."""
    decoder = tiny_decoder("gpt2", context=4)
    found = one_step_margins(made(decoder, [[1, 2, 3, 4], [5, 6], [7, 8]], layers="1"))
    assert 2 == found[0].prompts
    with pytest.raises(PromptError, match="every prompt fills the context of 4 tokens"):
        one_step_margins(made(decoder, [[1, 2, 3, 4], [5, 6, 7, 8]]))


def test_nothing_to_compare_is_refused(made: Made) -> None:
    """No prompt, or no pair of continuations."""
    for asked in ({"prompts": 0}, {"continuations": 1}):
        with pytest.raises(OptionError, match="give at least 1 and at least 2"):
            one_step_margins(made(), **asked)
