"""The memory that a search for a collision asks for."""

import re
from pathlib import Path

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.results.plan import Phase
from pytest_injectivity.testing import tiny_decoder
from tests.audits import Witness, audit_of

IDS = [[7, 1, 2], [7, 1, 3], [5, 6, 9]]
FREE = "pytest_injectivity.audit.measurements.float64_copies.free_bytes"


def test_a_search_that_finds_no_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a copy of the model would fit; the message says what takes less."""
    decoder = tiny_decoder("llama", hidden=8, layers=3)
    audit = audit_of(tmp_path, decoder, IDS)
    numbers = sum(one.numel() for one in decoder.model.parameters())
    monkeypatch.setattr(FREE, lambda _: 16 * numbers)
    words = re.escape("over='all': the search for a collision takes ")
    words += (
        r"\S+ kB and \S+ kB are free: give over='block', \S+ kB or over='embedding', \S+ kB or "
    )
    with pytest.raises(OptionError, match=words):
        audit.check_discriminant_distance_above(1, 1e-9)


@pytest.mark.parametrize(
    ("over", "said"),
    [("block", "over block"), ("embedding", "over embedding"), (1, "over 1")],
)
def test_all_searches_are_foretold_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: str | int, said: str
) -> None:
    """Pairs and layers are counted each, also where every layer's own weights may change."""
    witness = Witness()
    decoder = tiny_decoder("llama", hidden=8, layers=2)
    audit = audit_of(tmp_path, decoder, [*IDS, [3, 4]], watcher=witness, no_cache=True)
    monkeypatch.setattr(Phase, "is_long", property(lambda self: self.name == "colliding changes"))
    audit.check_discriminant_distance_above([1, 2], 1e-9, over=over, pairs=2)
    (sentence,) = [one for one in witness.sentences if "colliding changes" in one]
    assert f"2 pairs of prompts at each of 2 layers, {said}:" in sentence


@pytest.mark.slow
def test_fewer_weights_take_less_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the embedding no change of the blocks is held."""
    decoder = tiny_decoder("llama", hidden=8, layers=40)
    audit = audit_of(tmp_path, decoder, IDS)
    numbers = sum(one.numel() for one in decoder.model.parameters())
    monkeypatch.setattr(FREE, lambda _: 16 * numbers)
    assert audit.check_discriminant_distance_above(1, 1e-9, over="embedding").passed
