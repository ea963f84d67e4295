from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, OptionError, Reason
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.stats import clopper_pearson, clustered_rate
from pytest_injectivity.testing import byte_tokenizer, plant_equal_embeddings, tiny_decoder
from tests.audits import audit_of

# Ten prompts of 5 tokens and more, three that are too short.
IDS = [[at, 3 * at % 40, 7, at + 20, 5, *range(at)] for at in range(10)] + [[1], [2, 3], [4, 5, 6]]


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A generic decoder: every prompt can be recovered."""
    return audit_of(tmp_path_factory.mktemp("generic"), tiny_decoder("llama"), IDS)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Tokens 3 and 9 have one embedding row: prompts with either are ambiguous."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    ids = [[at, 10 + at, 20, 21] for at in range(6)]
    return audit_of(tmp_path_factory.mktemp("planted"), decoder, ids)


def _one(audit: Audit, layer: int | str = -1, **asked: object) -> Reason:
    (reason,) = audit.check_sipit_recovers(layer, **asked).reasons  # type: ignore[arg-type]
    return reason


@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
def test_a_generic_model_gives_its_prompts_back(audit: Audit, layer: int | str) -> None:
    """All of them, every token, at every layer."""
    reason = _one(audit, layer, prompts=10, tokens=5)
    assert ("PASS", 1.0, "10 of 10 prompts recovered (wants 1)") == (
        str(reason.status),
        reason.value,
        reason.headline,
    )
    assert any(line.startswith("50 of 50 tokens right") for line in reason.evidence)


def test_prompts_that_begin_alike_count_once(tmp_path: Path) -> None:
    """Twenty copies of one beginning are one prompt recovered, which proves little."""
    ids = [[*range(5), at] for at in range(20)] + [[at, *range(5)] for at in range(1, 3)]
    audit = audit_of(tmp_path, tiny_decoder("llama"), ids)
    with pytest.raises(OptionError, match="20 prompts of 5 tokens were asked for, and 3 of 22"):
        audit.check_sipit_recovers(1, prompts=20, tokens=5)
    reason = _one(audit, 1, prompts=3, tokens=5)
    assert clopper_pearson(3, 3, 0.95) == reason.interval


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"prompts": 11, "tokens": 5},
            "11 prompts of 5 tokens were asked for, and 10 of 13 prompts",
        ),
        (
            {"prompts": 1, "tokens": 50},
            "1 prompts of 50 tokens were asked for, and 0 of 13 prompts",
        ),
        ({"prompts": 0}, "prompts=0: give an integer of at least 1"),
        ({"prompts": 2, "tokens": -1}, "tokens=-1: give an integer of at least 1"),
    ],
)
def test_too_few_prompts_are_refused(audit: Audit, asked: dict[str, int], message: str) -> None:
    """With what was asked for and what there is."""
    with pytest.raises(OptionError, match=message):
        audit.check_sipit_recovers(1, **asked)  # type: ignore[arg-type]


def test_an_ambiguous_token_is_no_recovery(planted: Audit) -> None:
    """The one prompt with a planted token fails, by its name and position; the others are fine."""
    reason = _one(planted, prompts=6, tokens=4)
    assert ("FAIL", "5 of 6 prompts recovered (wants 1)") == (str(reason.status), reason.headline)
    (line,) = [line for line in reason.evidence if "position" in line and "prompt" in line[:6]]
    own, other = (planted.target.name_of_token(token) for token in (3, 9))
    why = f"ambiguous: {own} has the same embedding as {other}, residual 0"
    assert f"{planted.name_of(3)}: position 0: {why}" == line
    assert "reasons: ambiguous (another token has the same embedding): 1" in reason.evidence
    said = "2 tokens have the same embedding row as another (1 pair, 1 class, the largest of 2)"
    assert any(line.startswith(said) for line in reason.evidence)
    assert reason.value == 5 / 6


def test_the_rate_may_be_less_than_one(planted: Audit) -> None:
    """``>=``: 5 of 6 passes at 5/6 and not at the next number above."""
    assert "PASS" == str(_one(planted, prompts=6, tokens=4, min_rate=5 / 6).status)
    above = float(torch.nextafter(torch.tensor(5 / 6, dtype=torch.float64), torch.tensor(1.0)))
    assert "FAIL" == str(_one(planted, prompts=6, tokens=4, min_rate=above).status)


def test_the_rate_that_is_said_to_pass_passes(tmp_path: Path) -> None:
    """Rounded down, as every other largest bound: 2 of 3 is less than 0.6667."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    audit = audit_of(tmp_path, decoder, [[1, 3, 5], [1, 4, 5], [1, 6, 5]])
    rate = float(_one(audit, prompts=3, tokens=3).would_pass.rpartition(" ")[2])
    assert "PASS" == str(_one(audit, prompts=3, tokens=3, min_rate=rate).status)


def test_the_interval_is_clopper_pearsons(planted: Audit) -> None:
    """20 of 20 proves 0.83 and not 1: the interval says how far one may trust a rate."""
    assert clopper_pearson(5, 6, 0.95) == _one(planted, prompts=6, tokens=4).interval
    found = _one(planted, prompts=6, tokens=4, min_rate=0.1, confidence=0.8)
    assert clopper_pearson(5, 6, 0.8) == found.interval


@pytest.mark.parametrize("layer", [1, "norm"])
def test_the_rate_of_tokens_is_clustered_by_prompt(tmp_path: Path, layer: int | str) -> None:
    """A prompt with a token that is taken for its copy loses that one: 14 of 15 right, in clusters."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    audit = audit_of(tmp_path, decoder, [[1, 9, 5], *([2, at, 6] for at in (20, 21, 22, 23))])
    evidence = _one(audit, layer, prompts=5, tokens=3).evidence
    right = next(int(line.split()[0]) for line in evidence if " tokens right, policy" in line)
    assert right in {14, 15}
    counts = np.array([right - 12, 3, 3, 3, 3])
    expected = clustered_rate(counts, np.full(5, 3), 0.95)
    assert f"rate of tokens right {expected}, tokens clustered by prompt" in evidence


def test_confidence_needs_a_rate_below_one(audit: Audit) -> None:
    """No number of successes proves a rate of exactly 1."""
    with pytest.raises(OptionError, match="no number of successes proves a rate of exactly 1"):
        audit.check_sipit_recovers(1, prompts=2, tokens=2, confidence=0.95)


def test_the_result_is_sipits_own(planted: Audit) -> None:
    """The same states, tolerance, policy and seed give the same recoveries."""
    reason = _one(planted, 2, prompts=6, tokens=4, policy="random", certify=7)
    decoder, resolution = planted.decoder, planted.resolution(2)
    truths = [list(ids) for ids in sorted(planted.prompts.ids, key=_hash(planted))]
    inversion = recover_all(
        decoder,
        [observe(decoder, truth, [2])[2] for truth in truths],
        2,
        eps=resolution.scaled_tolerance,
        scales=resolution.scales,
        policy="random",
        seed=planted.config.seed,
        certify=7,
    )
    recovered = sum(r.exact(t) for r, t in zip(inversion.recoveries, truths, strict=True))
    assert recovered / 6 == reason.value
    tried = f"policy random, {inversion.candidates_per_token:.1f} candidates a token"
    assert any(tried in line for line in reason.evidence)
    assert any(
        line.startswith("7 positions, drawn at random, passed over") for line in reason.evidence
    )


def _hash(audit: Audit) -> object:
    digests = dict(zip(audit.prompts.ids, audit.prompts.hashes, strict=True))
    return lambda ids: digests[tuple(ids)]


def test_a_bos_that_every_prompt_has_is_known(tmp_path: Path) -> None:
    """It is not searched: an attacker knows what every prompt begins with."""
    tokenizer = byte_tokenizer(bos=True)
    decoder = tiny_decoder("llama", vocab=257, tokenizer=tokenizer, bos_token_id=256)
    audit = audit_of(tmp_path, decoder, [[at, at + 1, at + 2] for at in range(4)])
    with_bos = Audit(
        type(audit.config)(
            model=audit.config.model, prompts=audit.config.prompts, special_tokens="yes"
        )
    )
    assert {256} == {ids[0] for ids in with_bos.prompts.ids}
    every = _one(with_bos, prompts=4, tokens=4, certify=100)
    assert any(line.startswith("12 positions, drawn at random,") for line in every.evidence)
    plain = _one(audit, prompts=4, tokens=3, certify=100)
    assert any(line.startswith("12 positions, drawn at random,") for line in plain.evidence)


def test_five_failures_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    """A failure stays readable."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), 3, 9)
    audit = audit_of(tmp_path, decoder, [[at, 3, 20 + at] for at in range(8)])
    evidence = _one(audit, prompts=8, tokens=3).evidence
    assert 5 == sum("position 1: ambiguous: token" in line for line in evidence)
    assert "… and 3 more" in evidence


def test_the_figures_are_those_of_the_evidence(planted: Audit) -> None:
    """Positions passed over the whole vocabulary, and how many of them are ambiguous."""
    reason = _one(planted, 1, prompts=6, tokens=4, certify=100)
    passed, ambiguous = (reason.figures[name] for name in ("certified", "ambiguous"))
    said = (
        f"{passed:g} positions, drawn at random, passed over the whole vocabulary: {ambiguous:g}"
        " ambiguous, rate"
    )
    assert [True] == [line.startswith(said) for line in reason.evidence if " passed over" in line]


def test_the_figures_say_where_prompts_failed_first(planted: Audit) -> None:
    """How many at each position, beside how many prompts of how many tokens there were."""
    reason = _one(planted, 1, prompts=6, tokens=4)
    lost = {at: n for at, n in reason.figures.items() if at.startswith("failed_at_")}
    assert (6, 4) == (reason.figures["prompts"], reason.figures["tokens"])
    assert 6 * (1 - reason.value) == pytest.approx(sum(lost.values()))
    assert lost


def test_no_rate_is_stated_of_few_positions(planted: Audit) -> None:
    """The 24 positions have one, 19 of them have none."""
    few, many = (_one(planted, 1, prompts=6, tokens=4, certify=n) for n in (19, 20))
    (line,) = [line for line in few.evidence if " passed over" in line]
    assert "rate [" not in line
    assert "(no rate is stated of fewer than 20)" in line
    assert any("passed over" in line and ", rate [" in line for line in many.evidence)


def test_by_default_positions_are_certified_by_budget(planted: Audit) -> None:
    """And the verdict says so; the same positions every time."""
    first, again = (_one(planted, "norm", prompts=6, tokens=4) for _ in range(2))
    (line,) = [line for line in first.evidence if " passed over" in line]
    assert "until they had cost what the recovery did: " in line
    assert first.figures == again.figures


def test_a_rate_that_is_none_is_refused(audit: Audit) -> None:
    """The error names the argument and its value."""
    with pytest.raises(OptionError, match=r"^min_rate=1\.5 is not a fraction"):
        audit.check_sipit_recovers(1, prompts=2, tokens=2, min_rate=1.5)
