"""Local contraction: what is judged, in which unit, what is not known, and what is said."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit, OptionError
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from pytest_injectivity.theory import contraction
from pytest_injectivity.theory.contraction import step_jacobians
from tests.audits import Witness, audit_of

IDS = [[7, 1, 2], [7, 1, 3], [5, 6, 9, 4], [11]]
FEW: dict[str, Any] = {"prompts": 2, "positions": 1}


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A tiny model without a LayerNorm at its end."""
    decoder = tiny_decoder("llama", hidden=8, layers=2)
    return audit_of(tmp_path_factory.mktemp("audit"), decoder, IDS)


def _linear(folder: Path, added: torch.Tensor) -> Audit:
    """An audit whose model adds to each state its product with a matrix, at layer 1."""
    decoder = additive_decoder(torch.eye(16, 8), torch.zeros(6, 8), layers=1)
    audit = audit_of(folder, decoder, IDS)
    audit.measurements.target.decoder.parts.blocks[0].register_forward_hook(
        lambda _module, args, out: out + args[0] @ added.to(out)
    )
    return audit


def test_of_a_linear_step_the_matrix_is_known(tmp_path: Path) -> None:
    """The smallest over the largest singular value of the identity and the matrix added."""
    added = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(torch.eye(8).double() + added.double())
    audit = _linear(tmp_path, added)
    plain, share = (
        audit.check_local_colipschitz_above(1, 1e-9, normalized=one).reasons[0]
        for one in (False, True)
    )
    assert float(values[-1]) == pytest.approx(plain.value, abs=1e-8)
    assert plain.value == pytest.approx(share.figures["smallest_least"], abs=1e-12)
    assert float(values[-1] / values[0]) == pytest.approx(share.value, abs=1e-8)
    assert float(values[0]) == pytest.approx(share.figures["largest_greatest"], abs=1e-8)


def test_blocks_that_add_nothing_contract_nothing(tmp_path: Path) -> None:
    """Any bound up to 1 is met, and none above; the embedding itself contracts nothing either."""
    audit = audit_of(tmp_path, additive_decoder(torch.eye(16, 8), torch.zeros(6, 8)), IDS)
    verdict = audit.check_local_colipschitz_above([0, 1, 2], 1 - 1e-8)
    assert "PASS" == verdict.status
    assert [1.0] * 3 == pytest.approx([one.value for one in verdict.reasons], abs=1e-8)
    assert "FAIL" == audit.check_local_colipschitz_above(2, 1 + 1e-8).status


def test_a_value_below_the_bound_fails(audit: Audit) -> None:
    """The position is named, and its tokens are not shown; what would pass, passes."""
    verdict = audit.check_local_colipschitz_above(2, 0.99)
    (reason,) = verdict.reasons
    assert "FAIL" == verdict.status
    assert "local co-Lipschitz constant (normalized) 0.0" in verdict.text
    assert re.search(r"prompt \d \([0-9a-f]+, \d tokens?\), position \d: singular", verdict.text)
    assert "[7, 1, 2]" not in verdict.text
    passing = float(reason.would_pass.removeprefix("alpha="))
    assert audit.check_local_colipschitz_above(2, passing)
    assert 0.99 * reason.value <= passing <= reason.value


def test_the_smallest_position_is_judged(audit: Audit) -> None:
    """Against the Jacobians of every position, one by one."""
    (reason,) = audit.check_local_colipschitz_above(2, 1e-9, prompts=4, positions=9).reasons
    exact = audit.measurements.target.decoder.as_float64()
    ratios = []
    for ids in IDS:
        for end in range(1, len(ids) + 1):
            jacobian = step_jacobians(exact, torch.tensor(ids[:end]), [2])[2].matrix
            values = torch.linalg.svdvals(jacobian)
            ratios.append(float(values[-1] / values[0]))
    figures = reason.figures
    assert (4, 11) == (figures["prompts"], figures["positions"])
    assert min(ratios) == pytest.approx(reason.value, rel=1e-8)
    assert sorted(ratios)[5] == pytest.approx(figures["ratio_median"], rel=1e-8)
    assert max(ratios) == pytest.approx(figures["ratio_greatest"], rel=1e-8)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompts": 1, "positions": 1}, "1 position of 1 prompt, in true float64"),
        ({"prompts": 2, "positions": 99}, r"\d positions of 2 prompts, in true float64"),
        ({"prompts": 99, "positions": 1}, "4 positions of 4 prompts, in true float64"),
    ],
)
def test_the_budget_is_said(audit: Audit, given: dict[str, int], words: str) -> None:
    """What was looked at, which may be less than was asked for; and that it is local."""
    verdict = audit.check_local_colipschitz_above(1, 1e-9, **given)
    assert re.fullmatch(words, verdict.notes[0])
    assert verdict.notes[1].startswith("local: ")


def test_positions_are_those_of_the_seed_and_of_the_prompts_hashes(tmp_path: Path) -> None:
    """In whatever order the prompts stand in the file."""
    decoder = tiny_decoder("llama", hidden=8, layers=2)
    many = [[one, one + 1, one + 2, one + 3] for one in range(12)]
    places = []
    for name, ids, seed in (("a", many, 0), ("b", many[::-1], 0), ("c", many, 1)):
        audit = audit_of(tmp_path / name, decoder, ids, seed=seed)
        found = audit.measurements.contractions.places(6, 2)
        places.append([(ids[prompt], position) for prompt, position in found])
    assert places[0] == places[1]
    assert {tuple(ids) for ids, _ in places[0]} == {tuple(ids) for ids, _ in places[2]}
    assert places[0] != places[2]
    assert 12 == len({(tuple(ids), position) for ids, position in places[0]})


@pytest.mark.parametrize(("alpha", "status"), [(1e-2, "FAIL"), (1e-12, "INSUFFICIENT")])
def test_a_singular_step_behind_large_gains_does_not_pass(
    tmp_path: Path, alpha: float, status: str
) -> None:
    """Its smallest value is 0, and what rounding inside the product makes of it is not small."""
    audit = audit_of(tmp_path, additive_decoder(torch.eye(16, 8), torch.zeros(6, 8), layers=3), IDS)
    there, back, flat = (torch.eye(8) for _ in range(3))
    there[0, 1], back[0, 1], flat[1] = 1e6, -1e6, flat[0]
    flat[:, 2:] += torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    flat[1] = flat[0]
    blocks = audit.measurements.target.decoder.parts.blocks
    for block, matrix in zip(blocks, (there, back, flat), strict=True):
        block.register_forward_hook(lambda _block, args, _out, by=matrix: args[0] @ by.to(args[0]))
    (reason,) = audit.check_local_colipschitz_above(3, alpha, **FEW).reasons
    assert status == reason.status


@pytest.mark.parametrize(("alpha", "status"), [(1e-9, "FAIL"), (1e-30, "INSUFFICIENT")])
def test_what_is_below_rounding_is_not_known(tmp_path: Path, alpha: float, status: str) -> None:
    """A final LayerNorm loses the mean: no bound is met, however small, and nothing would pass."""
    audit = audit_of(tmp_path, tiny_decoder("gpt2", hidden=8, layers=1), IDS)
    (reason,) = audit.check_local_colipschitz_above("norm", alpha, **FEW).reasons
    assert (status, "") == (str(reason.status), reason.would_pass)
    assert re.fullmatch(r"not known, below \S+e-1[56]", reason.headline)
    assert 2 == reason.figures["unknown"]
    assert "not known at 2 of 2 positions: rounding makes as much of 0" in reason.evidence
    assert reason.evidence[-1].endswith("judge the blocks")


def test_the_final_norm_is_judged_where_it_is_asked_for(tmp_path: Path) -> None:
    """It loses the length of a state by its structure: of the config's layers the blocks are judged."""
    audit = audit_of(tmp_path, tiny_decoder("gpt2", hidden=8, layers=1), IDS)
    assert "all" == audit.config.layers
    by_default = audit.check_local_colipschitz_above(alpha=1e-9, **FEW).reasons
    named = audit.check_local_colipschitz_above(alpha={1: 1e-9, "norm": 1e-9}, **FEW).reasons
    assert ["layer01"] == [one.where for one in by_default]
    assert ["layer01", "norm"] == [one.where for one in named]


def test_a_value_that_is_known_does_not_pass_for_others_that_are_not(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the units of the states another position may have the smaller value."""
    one = contraction.StepScales
    scales = (one(1, 0, 1e-9, 1.0, 1e-15), one(1, 1, 1e-3, 1e20, 1.0))
    monkeypatch.setattr(audit.measurements.contractions, "of", lambda *_: {1: scales})
    verdict = audit.check_local_colipschitz_above(1, 1e-12, normalized=False, **FEW)
    (reason,) = verdict.reasons
    assert ("INSUFFICIENT", 1e-9) == (reason.status, reason.value)
    assert "not known at 1 of 2 positions" == reason.headline


def test_a_step_that_sees_nothing_of_its_token_fails(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both extremes are 0, which is known."""
    nothing = contraction.StepScales(1, 0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(audit.measurements.contractions, "of", lambda *_: {1: (nothing, nothing)})
    (reason,) = audit.check_local_colipschitz_above(1, 1e-30, **FEW).reasons
    assert ("FAIL", 0.0, "") == (reason.status, reason.value, reason.headline)


def test_a_jacobian_that_is_not_finite_fails(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is enough, though the states themselves are finite."""
    full = (torch.full((8, 8), one) for one in (1.0, math.nan))
    finite, lost = (
        contraction.StepScales.of(1, 0, contraction.StepJacobian(one, one)) for one in full
    )
    monkeypatch.setattr(audit.measurements.contractions, "of", lambda *_: {1: (finite, lost)})
    (reason,) = audit.check_local_colipschitz_above(1, 1e-30, **FEW).reasons
    assert ("FAIL", "1 of 2 Jacobians is not finite") == (reason.status, reason.headline)
    assert math.isnan(reason.value)
    assert {} == reason.figures


def test_states_that_are_not_finite_fail(tmp_path: Path) -> None:
    """Shallower layers are judged."""
    audit = audit_of(tmp_path, plant_nan(tiny_decoder("llama", hidden=8), 2), IDS)
    verdict = audit.check_local_colipschitz_above([1, 2], 1e-9, **FEW)
    assert ["PASS", "FAIL"] == [one.status for one in verdict.reasons]
    assert "4 of 4 rows are not finite" == verdict.reasons[1].headline


def test_without_a_float64_copy_nothing_is_measured(tmp_path: Path) -> None:
    """The verdict says why there is none."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, activation_bits=8)
    verdict = audit.check_local_colipschitz_above(1, 1e-9)
    assert "INSUFFICIENT" == verdict.status
    assert "not measured: the model has no float64 copy" in verdict.text
    assert "would be another function" in verdict.text


def test_each_layer_is_measured_once(tmp_path: Path) -> None:
    """Layers share passes; another bound asks for none, and another layer for its own alone."""
    decoder = tiny_decoder("llama", hidden=8, layers=2)
    cache = {"cache_dir": str(tmp_path / "store")}
    asked: list[list[object]] = []
    for layers in ([1, 2], [1, 2], [1, "norm"]):
        witness = Witness()
        audit = audit_of(tmp_path, decoder, IDS, watcher=witness, **cache)
        audit.check_local_colipschitz_above(layers, 1e-9, **FEW)
        asked.append([work for work in witness.works if work[0] == "local contraction"])
    assert [1, 0, 1] == [len(one) for one in asked]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"alpha": 0.0}, "alpha=0.0 passes whatever is measured"),
        ({"alpha": -1}, "alpha=-1 is not a bound"),
        ({"alpha": math.nan}, "alpha=nan is not a bound"),
        ({"alpha": math.inf}, "alpha=inf is not a bound"),
        ({"prompts": 0}, "prompts=0: give an integer of at least 1"),
        ({"positions": 1.5}, "positions=1.5: give an integer of at least 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(audit: Audit, given: dict[str, Any], words: str) -> None:
    """By the value that is wrong."""
    with pytest.raises(OptionError, match=words):
        audit.check_local_colipschitz_above(1, **{"alpha": 1e-9, **given})
