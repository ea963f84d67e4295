"""States captured elsewhere, read with the model: what comes back, and what is refused to."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, OptionError, Reason
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.external import save_states
from pytest_injectivity.stats import clopper_pearson
from pytest_injectivity.testing import byte_tokenizer, plant_equal_embeddings, tiny_decoder
from tests.audits import Witness, audit_of

IDS = [[at, 3 * at % 40, 7, at + 20, 5, *range(at % 3)] for at in range(6)]
AUDITED = [[1, 2, 3], [4, 5], [6, 7, 8]]
Judge = Callable[..., Reason]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all: what is known of a model, such as its resolution, is measured once."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def judge(tmp_path: Path, store: str) -> Judge:
    """The reason of an audit of a decoder on states, and what the file says of them."""

    def judged(
        decoder: Decoder,
        states: list[Tensor],
        layer: int | str = 2,
        *,
        ids: list[list[int]] | None = IDS,
        error: float | None = None,
        asked: dict[str, Any] | None = None,
        **config: Any,
    ) -> Reason:
        path = tmp_path / "states.safetensors"
        save_states(path, states, layer, ids=ids, observation_error=error)  # type: ignore[arg-type]
        named = {"states": str(path), "cache_dir": store, **config}
        audit = audit_of(tmp_path, decoder, AUDITED, **named)
        (reason,) = audit.check_states_recoverable(**asked or {}).reasons
        return reason

    return judged


def _states(
    decoder: Decoder, layer: int | str = 2, ids: list[list[int]] = IDS, dtype: Any = None
) -> list[Tensor]:
    found = [observe(decoder, prompt, [layer])[layer] for prompt in ids]  # type: ignore[list-item,index]
    return found if dtype is None else [one.to(dtype) for one in found]


def _text(reason: Reason) -> str:
    return "\n".join(reason.evidence)


@pytest.mark.parametrize(("family", "layer"), [("gpt2", 0), ("gpt2", 2), ("llama", "norm")])
def test_the_right_model_reads_them(judge: Judge, family: str, layer: int | str) -> None:
    """All prompts, every token, at every layer; the error is said to be next to none."""
    decoder = tiny_decoder(family)
    reason = judge(decoder, _states(decoder, layer), layer)
    assert ("PASS", 1.0, "6 of 6 prompts recovered (wants 1)") == (
        str(reason.status),
        reason.value,
        reason.headline,
    )
    tokens = sum(map(len, IDS))
    assert f"{tokens} of {tokens} tokens right" in _text(reason)
    assert "estimated from 6 of 6 first tokens that verify" in _text(reason)
    assert clopper_pearson(6, 6, 0.95) == reason.interval


def test_without_ids_verified_prompts_count(judge: Judge) -> None:
    """And that is said: nothing tells whether they are right."""
    decoder = tiny_decoder("llama")
    reason = judge(decoder, _states(decoder), ids=None)
    assert "6 of 6 prompts verified (wants 1)" == reason.headline
    assert "no ids to judge by: verified positions count" in _text(reason)
    assert "tokens right" not in _text(reason)
    assert 1 == sum(bool(re.fullmatch(r"\d+\.\d candidates a token", x)) for x in reason.evidence)


def test_other_ids_are_no_recovery(judge: Judge) -> None:
    """What verifies is held against the file's ids."""
    decoder = tiny_decoder("llama")
    wrong = [[*ids[:-1], 63 - ids[-1]] for ids in IDS]
    reason = judge(decoder, _states(decoder), ids=wrong)
    assert ("FAIL", 0.0) == (str(reason.status), reason.value)
    assert "position 4: verified a wrong token" in _text(reason)


@pytest.mark.parametrize(
    ("dtype", "given"), [(torch.bfloat16, True), (torch.bfloat16, False), (torch.float16, False)]
)
def test_coarser_states_are_read_with_their_own_error(
    judge: Judge,
    dtype: torch.dtype,
    given: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    """Given or estimated, and in no case taken from the model's floor, hundreds of times smaller."""
    decoder = tiny_decoder("llama")
    exact, coarse = _states(decoder), _states(decoder, dtype=dtype)
    error = max(
        float((one - other.float()).norm(dim=1).max())
        for one, other in zip(exact, coarse, strict=True)
    )
    reason = judge(decoder, coarse, error=error if given else None)
    assert ("PASS", "6 of 6 prompts recovered (wants 1)") == (str(reason.status), reason.headline)
    assert reason.figures["resolution"] < error / 100
    said = ", given;" if given else ", estimated from 6 of 6 first tokens"
    assert said in _text(reason)
    bound = 1.0 if given else 20.0
    assert error <= reason.figures["observation_error"] <= bound * error


def test_an_error_given_too_small_is_said(judge: Judge) -> None:
    """The states are near the model's, and not as near as the file claims."""
    decoder = tiny_decoder("llama")
    reason = judge(decoder, _states(decoder, dtype=torch.bfloat16), error=1e-6)
    assert ("FAIL", "nothing verifies within the error given") == (
        str(reason.status),
        reason.headline,
    )
    assert "within the observation error given, 1e-06: residual " in _text(reason)
    assert reason.value != reason.value


@pytest.mark.parametrize(
    ("other", "layer", "error"),
    [
        (("llama", 1), 2, None),
        (("llama", 2), "norm", 1e-3),
        (("gpt2", 0), 2, None),
        (("llama", 0), 1, None),
    ],
)
def test_states_of_another_model_or_layer_are_recognised(
    judge: Judge, other: tuple[str, int], layer: int | str, error: float | None
) -> None:
    """In plain words, with the numbers that say so; nothing is inverted, with ids or without."""
    named = "norm" if layer == "norm" else 2
    states = _states(tiny_decoder(other[0], seed=other[1]), layer)
    ids = None if error is None else IDS
    reason = judge(tiny_decoder("llama"), states, named, ids=ids, error=error)
    assert ("FAIL", "not of this model at this layer") == (str(reason.status), reason.headline)
    line = reason.evidence[0]
    assert line.startswith(
        "these states are not of this model at this layer: nothing verifies at the first token;"
        " residual "
    )
    assert " against a resolution of " in line


@pytest.mark.parametrize("error", [None, 1e-3])
def test_states_with_ids_are_checked_to_be_what_is_claimed(
    judge: Judge, error: float | None
) -> None:
    """As what a serving engine wrote is: what they are instead is named, and nothing is read."""
    decoder = tiny_decoder("llama")
    reason = judge(decoder, _states(decoder, 1), error=error)
    assert ("FAIL", "layer 2 of the file is layer 1 of the model") == (
        str(reason.status),
        reason.headline,
    )
    assert "(in 6 of 6 prompts looked at)" in _text(reason)


def test_how_far_states_are_off_is_no_fault(judge: Judge) -> None:
    """Noise of a thousandth of their norm, of which the file says nothing."""
    decoder = tiny_decoder("llama")
    draw = torch.Generator().manual_seed(0)
    states = [
        one + 1e-3 * one.norm(dim=1, keepdim=True) / 4 * torch.randn(one.shape, generator=draw)
        for one in _states(decoder)
    ]
    assert "6 of 6 prompts recovered (wants 1)" == judge(decoder, states).headline


def test_states_that_are_not_finite_fail(judge: Judge) -> None:
    """Whatever the rate asked for, by the prompts that have them."""
    decoder = tiny_decoder("llama")
    states = _states(decoder)
    states[1][2, 0] = torch.nan
    reason = judge(decoder, states, asked={"min_rate": 0.1})
    assert ("FAIL", "1 of 6 prompts has states that are not finite") == (
        str(reason.status),
        reason.headline,
    )
    assert "a NaN or an infinity in prompt 1 of the file (6 tokens)" in reason.evidence
    assert reason.value != reason.value


def test_a_model_that_is_not_finite_fails(judge: Judge) -> None:
    """Its resolution is no number."""
    from pytest_injectivity.testing import plant_nan

    states = _states(tiny_decoder("llama"))
    reason = judge(plant_nan(tiny_decoder("llama"), 2), states)
    assert ("FAIL", "the resolution is not finite") == (str(reason.status), reason.headline)


def test_ambiguous_tokens_are_no_recovery(judge: Judge) -> None:
    """Two tokens that verify are a collision of the one-step map, not a success."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    ids = [[1, 2, 5], [2, 9, 5], [4, 5, 6]]
    reason = judge(decoder, _states(decoder, ids=ids), ids=ids)
    assert ("FAIL", "2 of 3 prompts recovered (wants 1)") == (str(reason.status), reason.headline)
    assert "prompt 1 of the file (3 tokens): position 1: ambiguous: token" in _text(reason)
    assert "has the same embedding as token" in _text(reason)
    first = judge(decoder, _states(decoder, ids=[[3, 5]]), ids=[[3, 5]])
    assert "0 of 1 prompt recovered (wants 1)" == first.headline


def test_bos_is_passed_over(judge: Judge) -> None:
    """The error is that of the first token after it."""
    decoder = tiny_decoder("llama", vocab=257, tokenizer=byte_tokenizer(bos=True))
    ids = [[256, *prompt] for prompt in IDS]
    reason = judge(decoder, _states(decoder, ids=ids), ids=ids)
    assert ("PASS", "6 of 6 prompts recovered (wants 1)") == (str(reason.status), reason.headline)
    other = tiny_decoder("llama", vocab=257, seed=1)
    other.parts.embeddings.weight[256] = decoder.parts.embeddings.weight[256]
    line = judge(decoder, _states(other, 0, ids), 0, ids=ids).evidence[0]
    assert "nothing verifies at the first token after the special tokens; residual " in line


def test_the_rate_may_be_less_than_one(judge: Judge) -> None:
    """With a confidence, what the sample proves."""
    decoder = tiny_decoder("llama")
    states = _states(decoder)
    states[5][3:] += 1.0
    assert "FAIL" == str(judge(decoder, states).status)
    assert "PASS" == str(judge(decoder, states, asked={"min_rate": 5 / 6}).status)
    sure = {"min_rate": 0.8, "confidence": 0.95}
    assert "INSUFFICIENT" == str(judge(decoder, states, asked=sure).status)
    assert "PASS" == str(judge(decoder, states, asked={**sure, "min_rate": 0.2}).status)


def test_few_verified_first_tokens_are_pointed_out(judge: Judge) -> None:
    """States of several sources in one file."""
    decoder = tiny_decoder("llama")
    states = [*_states(decoder)[:2], *_states(tiny_decoder("llama", seed=1))[2:]]
    reason = judge(decoder, states)
    assert "2 of 6 prompts recovered (wants 1)" == reason.headline
    assert "only 2 of 6 first tokens verify" in _text(reason)


def test_what_was_read_is_shown_only_when_asked_for(judge: Judge) -> None:
    """Ids, or the text where there is a tokenizer, safe to print."""
    decoder = tiny_decoder("llama", vocab=256, tokenizer=byte_tokenizer())
    ids = [list(b"heliotrope\x1b[31m"), list(b"quagmire")]
    states = _states(decoder, ids=ids)
    hidden = judge(decoder, states, ids=ids)
    assert "heliotrope" not in _text(hidden)
    assert str(ids[1])[1:-1] not in _text(hidden)
    shown = _text(judge(decoder, states, ids=ids, show_prompts=True))
    assert "prompt 0 of the file (15 tokens) reads 'heliotrope\\x1b[31m'" in shown
    assert "prompt 1 of the file (8 tokens) reads 'quagmire'" in shown


def test_ids_are_shown_where_there_is_no_tokenizer(judge: Judge) -> None:
    """As of any prompt."""
    decoder = tiny_decoder("llama")
    shown = judge(decoder, _states(decoder, ids=[[3, 4]]), ids=[[3, 4]], show_prompts=True)
    assert "prompt 0 of the file (2 tokens) reads [3, 4]" in _text(shown)


@pytest.mark.slow
def test_policies_may_be_named(judge: Judge) -> None:
    """They order the candidates only; one that is not known is refused."""
    decoder = tiny_decoder("llama")
    for policy in ("random", "lm-order"):
        reason = judge(decoder, _states(decoder), asked={"policy": policy, "certify": 3})
        assert "PASS" == str(reason.status)
        assert (
            "3 positions, drawn at random, passed over the whole vocabulary: 0 ambiguous"
            in _text(reason)
        )
    with pytest.raises(OptionError, match="policy 'guess' is not known"):
        judge(decoder, _states(decoder), asked={"policy": "guess"})


def test_a_file_must_be_named_and_fit(judge: Judge, tmp_path: Path) -> None:
    """With the flag's name, or the file's."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), AUDITED)
    with pytest.raises(OptionError, match="give --injx-states=PATH"):
        audit.check_states_recoverable()
    with pytest.raises(OptionError, match="states of width 24: the model's have 16"):
        judge(tiny_decoder("llama"), _states(tiny_decoder("llama", hidden=24)))
    with pytest.raises(OptionError, match="min_rate"):
        judge(tiny_decoder("llama"), _states(tiny_decoder("llama")), asked={"min_rate": 1.5})


def test_a_second_audit_loads_no_weights(tmp_path: Path) -> None:
    """The result is in the store, without a token of it; another file is another result."""
    decoder, path = tiny_decoder("llama"), tmp_path / "states.safetensors"
    save_states(path, _states(decoder), 2, ids=IDS)
    witness = Witness()
    first = audit_of(tmp_path, decoder, AUDITED, states=str(path), watcher=witness)
    expected = first.check_states_recoverable().reasons
    works = [work for work in witness.works if work[0] == "states from elsewhere"]
    assert [6, 2 * 6] == [prompts for _, prompts, *_ in works]
    again = Audit(first.config)
    assert expected == again.check_states_recoverable().reasons
    assert not again.target.loaded
    save_states(path, _states(tiny_decoder("llama", seed=1)), 2, ids=IDS)
    other = Audit(replace(first.config))
    assert "not of this model at this layer" == other.check_states_recoverable().reasons[0].headline


def test_the_file_is_part_of_the_command_to_reproduce(tmp_path: Path) -> None:
    """As every flag that changes a number."""
    decoder, path = tiny_decoder("llama"), tmp_path / "my states.safetensors"
    save_states(path, _states(decoder), 2)
    audit = audit_of(tmp_path, decoder, AUDITED, states=str(path))
    assert f"'--injx-states={path}'" in audit.check_states_recoverable().reproduce
