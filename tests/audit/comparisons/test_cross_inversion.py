"""States of the model read with its parent: how the rate is judged, and what is not attacked."""

from pathlib import Path

import pytest
import torch

from pytest_injectivity import Audit, OptionError
from pytest_injectivity.audit.comparisons.cross_inversion import cross_inversion
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.testing import (
    additive_decoder,
    plant_nan,
    tiny_decoder,
)
from tests.audit.comparisons.rounded import IDS, rounded
from tests.audits import audit_against


def test_reading_is_judged_by_its_upper_limit(tmp_path: Path) -> None:
    """Of the attack that read more; nothing read of a few prompts proves little."""
    audit = audit_against(tmp_path, rounded(8), tiny_decoder(), IDS)
    verdict = audit.check_not_read_by_reference(1, 0.9, prompts=4, tokens=3)
    assert verdict.first_line.startswith("FAIL not_read_by_reference layer01: ")
    assert verdict.first_line.endswith(" 1, wants <= 0.9")
    assert "nearest candidate: 4 of 4 prompts read whole, tokens 1" in verdict.text
    assert "that others read no more is not shown" in verdict.text
    with pytest.raises(OptionError, match=r"max_rate=1\.0 passes whatever is measured"):
        audit.check_not_read_by_reference(1, 1.0, prompts=4, tokens=3)
    assert audit.comparison(1).cross is not None
    (tmp_path / "other").mkdir()
    stranger = audit_against(tmp_path / "other", tiny_decoder(seed=9), tiny_decoder(), IDS)
    (reason,) = stranger.check_not_read_by_reference(2, 0.9, prompts=6, tokens=3).reasons
    assert reason.figures["rate"] < 0.3 < reason.value < 0.9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompts": 40, "tokens": 4}, "40 prompts of 4 tokens were asked for, and one more"),
        ({"prompts": 0}, "0 prompts of 20 tokens"),
        ({"prompts": 2, "tokens": 5}, "0 of 40 prompts have 5"),
    ],
)
def test_too_few_prompts_to_attack_are_refused(
    given: dict[str, int], message: str, shared: Audit
) -> None:
    """The drift is measured on others than are attacked."""
    with pytest.raises(OptionError, match=message):
        shared.cross_inversion(1, **given)


def test_prompts_attacked_that_begin_alike_count_once(tmp_path: Path) -> None:
    """Neither as prompts attacked, nor as others that the drift is measured on."""
    ids = [[*range(4), at] for at in range(20)] + [[at, *range(4)] for at in range(1, 3)]
    audit = audit_against(tmp_path, rounded(8), tiny_decoder(), ids)
    said = "3 prompts of 4 tokens .* one more at least .*; 3 of 22 prompts have 4 and differ"
    with pytest.raises(OptionError, match=said):
        audit.cross_inversion(1, prompts=3, tokens=4)
    assert 2 == audit.cross_inversion(1, prompts=2, tokens=4).prompts


def test_states_that_are_not_finite_are_not_read(tmp_path: Path) -> None:
    """The gate fails with whose they are; the measurement refuses."""
    audit = audit_against(tmp_path, plant_nan(rounded(), 1), tiny_decoder(), IDS)
    verdict = audit.check_not_read_by_reference(1, 0.5, prompts=2, tokens=3)
    assert "40 of 40 rows are not finite" in verdict.first_line
    with pytest.raises(OptionError, match="drift of 32 prompts is not finite"):
        audit.cross_inversion(1, prompts=2, tokens=3)


@pytest.mark.slow
def test_a_drift_that_is_not_finite_is_left_out_of_the_figures(tmp_path: Path) -> None:
    """A state of 0 in both models has no relative drift; the rates of such states are judged still."""
    rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    rows[7] = 0.0
    own, parents = (additive_decoder(scale * rows, torch.zeros(4, 8)) for scale in (1.01, 1.0))
    audit = audit_against(tmp_path, own, parents, IDS)
    (reason,) = audit.check_not_read_by_reference(1, 0.9, prompts=4, tokens=3).reasons
    assert {} == reason.figures
    assert "states attacked lie nan of the parent's norm" in "\n".join(reason.evidence)


def test_the_evidence_names_the_tolerance_at_position_0_and_at_the_last(shared: Audit) -> None:
    """They differ: position 0 has a drift of its own."""
    (reason,) = shared.check_not_read_by_reference(1, 0.9, prompts=4, tokens=3).reasons
    eps = cross_inversion(shared.comparisons.against, 1, 4, 3).eps
    assert len(set(eps)) > 1
    said = f"eps {show(eps[-1])} (position 0: {show(eps[0])}), from other prompts"
    assert [True] == [line.endswith(said) for line in reason.evidence if "eps" in line]


def test_the_rate_that_is_said_to_pass_is_the_value(shared: Audit) -> None:
    """Unrounded."""
    (reason,) = shared.check_not_read_by_reference(1, 0.9, prompts=4, tokens=3).reasons
    assert f"max_rate of at least {show_up(reason.value)}" == reason.would_pass
