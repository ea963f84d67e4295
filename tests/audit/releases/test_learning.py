import pytest
import torch

from pytest_injectivity import Audit
from pytest_injectivity.audit.releases.learning import learned_from
from pytest_injectivity.audit.releases.release_size import Size, SizeOptions
from pytest_injectivity.config.release_place import Place
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.observed import observe_place
from pytest_injectivity.testing import tiny_decoder
from tests.audits import audit_of

IDS = [[at, 3 * at % 40, 7, at + 20, 5, at + 1] for at in range(12)]
PLACE = Place(1)


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A generic decoder and twelve prompts of six tokens."""
    return audit_of(tmp_path_factory.mktemp("generic"), tiny_decoder("llama"), IDS)


def _learned(audit: Audit, **size: int) -> tuple[list[tuple[int, ...]], ...]:
    """The prompts judged, practised and known."""
    given: SizeOptions = {"tokens": 4, **size}  # type: ignore[typeddict-item]
    wanted = Size.of(PLACE, given)
    measured = audit.measurements
    found = learned_from(measured, measured.target.decoder, wanted, [PLACE])[PLACE]
    judged = measured.target.prompts.sample(wanted.prompts, wanted.tokens).ids
    return list(judged), *([] if one is None else list(one.prompts) for one in found)


def test_no_prompt_is_in_two_parts(audit: Audit) -> None:
    """Those judged, those known and those practised are others."""
    judged, practised, known = _learned(audit, prompts=3, practice=40, known=4)
    assert (3, 40, 4) == (len(judged), len(practised), len(known))
    assert 3 + 40 + 4 == len({*judged, *practised, *known})


def test_prompts_of_the_set_are_practised_first(audit: Audit) -> None:
    """Drawn sequences take the place of those that are missing."""
    _, practised, _ = _learned(audit, prompts=3, practice=40)
    cut = {tuple(ids[:4]) for ids in IDS}
    assert [True] * 9 + [False] * 31 == [ids in cut for ids in practised]


def test_asked_for_nothing_nothing_is_learned(audit: Audit) -> None:
    """No pass is run for it."""
    _, practised, known = _learned(audit, prompts=3, practice=0, known=0)
    assert [] == practised == known


def test_attackers_practise_with_their_own_weights(audit: Audit) -> None:
    """What they know of the sender's comes from the sender's."""
    size: SizeOptions = {"prompts": 3, "tokens": 4, "practice": 40, "known": 4}
    own, sender = tiny_decoder("llama", seed=1), audit.measurements.target.decoder
    learned = learned_from(audit.measurements, own, Size.of(PLACE, size), [PLACE])[PLACE]
    practised, known = (one for one in learned if one is not None)
    assert torch.equal(practised.rows[0], observe_place(own, PLACE, practised.prompts[:1]).rows[0])
    assert torch.equal(known.rows[0], observe_place(sender, PLACE, known.prompts[:1]).rows[0])


def test_more_known_prompts_than_there_are_is_refused(audit: Audit) -> None:
    """No drawn sequence is a prompt of the sender's."""
    with pytest.raises(OptionError, match=r"known=10: 12 prompts .* give at most 9"):
        _learned(audit, prompts=3, known=10)


@pytest.mark.parametrize("name", ["practice", "known"])
def test_a_negative_number_is_refused(name: str) -> None:
    """By its name."""
    with pytest.raises(OptionError, match=f"{name}=-1: give an integer of at least 0"):
        Size.of(PLACE, {name: -1})  # type: ignore[misc]
