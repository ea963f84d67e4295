"""Checkpoints as the tools that people use make them: loaded, proved, compared, damaged."""

from pathlib import Path

import pytest

from pytest_injectivity import load_decoder
from tests.tools.schemes import SCHEMES, Scheme
from tests.tools.support import Made, apart, damaged, said_against

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize(
        ("made", "scheme"),
        [pytest.param(one, one, id=one.id) for one in SCHEMES],
        indirect=["made"],
        scope="session",
    ),
]

BLOCKS, MATRICES = 4, 7  # of the parent, and of each of its blocks


def test_the_weights_are_the_tools_own(made: Made, scheme: Scheme) -> None:
    """Every parameter has the bits that the tool itself makes of codes and scales."""
    ours = dict(load_decoder(str(made.folder), device="cpu").model.named_parameters())
    assert [] == sorted(made.dense.keys() - ours.keys() - {"lm_head.weight"})
    far = {name: apart(ours[name], made.dense[name]) for name in ours.keys() & made.dense.keys()}
    assert len(far) > BLOCKS * MATRICES
    assert {} == {name: one for name, one in far.items() if not one <= scheme.apart}


def test_bits_and_share_are_proved(made: Made, scheme: Scheme) -> None:
    """All matrices of the blocks have the bits that the tool was asked for."""
    found = load_decoder(str(made.folder), device="cpu").quantized
    assert found is not None
    assert (1.0, scheme.rounds) == (found.share, found.rounds_activations)
    assert scheme.bits == pytest.approx(found.bits, abs=0.05)


def test_states_stay_near_the_parents(made: Made, scheme: Scheme, trained: Path) -> None:
    """The gate is green."""
    assert "" == said_against(made.folder, trained, scheme.drift)


@pytest.mark.parametrize("damage", ["scale x1.5", "codes shifted"])
def test_a_damaged_matrix_is_red(
    damage: str, made: Made, scheme: Scheme, trained: Path, tmp_path: Path
) -> None:
    """One matrix of the first block is enough."""
    assert said_against(damaged(made, tmp_path / "damaged", damage), trained, scheme.drift)


def test_missing_scales_are_refused(
    made: Made, scheme: Scheme, trained: Path, tmp_path: Path
) -> None:
    """By the name of the matrix, before the gate."""
    damaged_copy = damaged(made, tmp_path / "damaged", "scale dropped")
    said = said_against(damaged_copy, trained, scheme.drift)
    assert not said.startswith("FAIL")
    assert "down_proj" in said
