from pathlib import Path

import pytest

from pytest_injectivity.testing import tiny_decoder
from tests.audits import Witness, audit_against

IDS = [[(3 * row + at * at) % 64 for at in range(5 + row % 9)] for row in range(24)]


def test_a_block_that_stands_out_is_named_within_its_bound(tmp_path: Path) -> None:
    """In a green run by a sentence, in a verdict by a note."""
    child, witness = tiny_decoder("llama", layers=5), Witness()
    for at, block in enumerate(child.parts.blocks):
        block.mlp.down_proj.weight.mul_(1.2 if at == 2 else 1.01)
    audit = audit_against(tmp_path, child, tiny_decoder("llama", layers=5), IDS, watcher=witness)
    verdict = audit.check_block_error_below(relative=0.9)
    assert verdict.passed
    (said,) = [one for one in witness.sentences if "times the median" in one]
    assert said.startswith("injectivity: layer03: block error 0.1")
    assert any(note.startswith("layer03: block error") for note in verdict.notes)


def test_a_bound_by_layer_judges_each_layer_by_its_own(tmp_path: Path) -> None:
    """The head with the final norm; layers that are not named are not judged."""
    child = tiny_decoder("llama", layers=3)
    child.model.lm_head.weight.mul_(1.1)
    audit = audit_against(tmp_path, child, tiny_decoder("llama", layers=3), IDS)
    verdict = audit.check_block_error_below(relative={2: 0.1, "norm": 0.05})
    assert ["layer02", "norm"] == [reason.where for reason in verdict.reasons]
    assert ["norm"] == [reason.where for reason in verdict.failing]
    assert 0.1 == pytest.approx(verdict.failing[0].value, rel=1e-4)
    assert "block error of the head" in verdict.first_line
    assert audit.check_block_error_below(relative={"norm": 0.2}).passed
