"""Attacks in parts are those of one process, whichever worker reads which prompts."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.attack import BegunAttacks
from pytest_injectivity.privacy.evaluation.attack_parts import (
    AttackPart,
    PackedCases,
    attack_in_parts,
)
from pytest_injectivity.privacy.evaluation.cases import AttackCase, AttackSettings
from pytest_injectivity.privacy.evaluation.results import AttackedRelease
from pytest_injectivity.store.codec import to_bytes
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import case, drawn_prompts
from tests.executors import InTurn

VOCAB = 16
PROMPTS = drawn_prompts(3, 3, vocab=VOCAB)
PRACTICE = [ids for ids in drawn_prompts(22, 3, vocab=VOCAB, seed=1) if ids not in PROMPTS]
# Two attackers learn for seconds; another that learns does so in the same way.
FAST = tuple(one for one in ATTACKERS if one.name not in {"network inverter", "pairs inverter"})
SLOW = pytest.mark.slow
THREE = tuple(one for one in FAST if one.name in {"linear inverter", "mahalanobis", "beam"})
NOISY = ("identity", "gaussian(sigma=0.5 rel)")
FEW = AttackSettings(seed=3, attackers=FAST, free_running=2, keep_ids=True, cached_bytes=1)


@dataclass(frozen=True)
class Fresh:
    """A job whose parts are each done by a worker that has done none."""

    packed: PackedCases

    def __call__(self, part: AttackPart) -> Any:
        """Does one."""
        return part.run(self.packed.begun(model()))


@dataclass(frozen=True)
class Kept:
    """A job whose parts are all done by one worker."""

    packed: PackedCases

    def __call__(self, part: AttackPart) -> Any:
        """Does one."""
        if self.packed.cases not in KEPT:
            KEPT.clear()
            KEPT[self.packed.cases] = self.packed.begun(model())
        return part.run(KEPT[self.packed.cases])


KEPT: dict[bytes, BegunAttacks] = {}


def model() -> Decoder:
    """The sender's and the attackers'."""
    return tiny_decoder("llama", vocab=VOCAB)


def untimed(found: Sequence[AttackedRelease]) -> list[bytes]:
    """All that was found, to the last bit."""
    return [
        to_bytes(one)
        for release in found
        for one in (release.robustness, *(replace(one, seconds=0.0) for one in release.attacks))
        if one is not None
    ] + [pickle.dumps([one.ids for one in release.attacks]) for release in found]


def cases(sent: Mapping[str, Sequence[str]]) -> list[AttackCase]:
    """The same prompts, released at some places."""
    return [
        case(model(), place, releases, PROMPTS, practice=PRACTICE, queries=2)
        for place, releases in sent.items()
    ]


@pytest.mark.parametrize(
    ("sent", "settings", "job"),
    [
        ({"2": NOISY[1:]}, replace(FEW, attackers=THREE), Fresh),
        ({"2": NOISY[1:]}, replace(FEW, attackers=THREE[:1]), Kept),
        pytest.param({"2": NOISY, "1 last": NOISY[:1]}, FEW, Kept, marks=SLOW),
        pytest.param({"2": NOISY}, replace(FEW, budget=60, first_round=2), Fresh, marks=SLOW),
        pytest.param({"2": ("permute",), "1 kv": NOISY[:1]}, FEW, Fresh, marks=SLOW),
    ],
    ids=["learned", "one worker", "learned once", "pruned", "out of order, keys and values"],
)
def test_the_answers_are_those_of_one_process(
    sent: Mapping[str, Sequence[str]],
    settings: AttackSettings,
    job: Callable[[PackedCases], Callable[[AttackPart], Any]],
) -> None:
    """In the order of the prompts, with all that was noted of them."""
    every, done, executor = cases(sent), list[int](), InTurn()
    alone = BegunAttacks(model(), every, settings)
    alone.run(range(len(PROMPTS)))
    found = attack_in_parts(executor, job, model(), every, settings, progress=done.append)
    assert found is not None
    assert untimed(alone.results()) == untimed(found)
    assert 3 + 1 == executor.ran
    assert (sorted(done), 9) == (done, done[-1])


def test_an_attacker_that_remembers_reads_all_prompts_itself() -> None:
    """It learns a rotation from each prompt for the next."""
    sent = cases({"2": ("rotate(seed=1)",)})
    executor = InTurn()
    assert attack_in_parts(executor, Fresh, model(), sent, FEW, progress=print) is None
    assert 0 == executor.ran


def test_prompts_that_are_attacked_together_are_not_shared_out() -> None:
    """The shapes of their passes would be other ones."""
    together = replace(FEW, cached_bytes=2**28)
    assert (
        attack_in_parts(InTurn(), Fresh, model(), cases({"2": NOISY}), together, progress=print)
        is None
    )


def test_no_model_and_no_other_rows_are_sent() -> None:
    """A model is named; a row is no view of those of all prompts."""
    packed = PackedCases.of(cases({"2": NOISY}), FEW)
    assert len(packed.cases) < 40_000
