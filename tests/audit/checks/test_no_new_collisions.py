from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from pytest_injectivity import Audit
from pytest_injectivity.audit.comparisons.new_pairs import find_new_collisions
from pytest_injectivity.audit.measurements.doubtful_pairs import DoubtfulPairs, Doubts
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.tolerances import Tolerance
from pytest_injectivity.testing import (
    additive_decoder,
    plant_equal_embeddings,
    plant_nan,
    round_weights,
    tiny_decoder,
)
from tests.audits import audit_against

IDS = [[token] for token in range(40)]


@pytest.fixture
def rows() -> torch.Tensor:
    """The parent's states."""
    return torch.randn(40, 16, generator=torch.Generator().manual_seed(0))


def _pair(folder: Path, own: torch.Tensor, parents: torch.Tensor, **config: object) -> Audit:
    zeros = torch.zeros(8, own.shape[1])
    decoders = (additive_decoder(table, zeros) for table in (own, parents))
    return audit_against(folder, *decoders, IDS, **config)


def test_a_pair_that_collides_in_the_model_alone_is_named(
    tmp_path: Path, rows: torch.Tensor
) -> None:
    """With its distance in both."""
    child = rows.clone()
    child[7] = child[3]
    audit = _pair(tmp_path, child, rows)
    verdict = audit.check_no_new_collisions(1)
    assert "FAIL no_new_collisions layer01: 1 new collision" == verdict.first_line
    apart = float((rows[3].double() - rows[7].double()).norm())
    line = f"collision, distance 0, in the parent {apart:.4g}: {audit.name_of(3)} and"
    assert f"{line} {audit.name_of(7)}" in verdict.text
    assert "no eps: pairs are equal" in verdict.text
    assert audit.check_no_new_collisions("norm").first_line.startswith("FAIL")


@pytest.mark.usefixtures("empty_store")
def test_pairs_of_all_layers_are_evaluated_together(
    tmp_path: Path, rows: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts of a model are run once for all layers; the parent's where the model has pairs."""
    decided = []
    decide = Doubts._decide

    def noting(doubts: Doubts, layers: Sequence[Layer]) -> Mapping[Layer, DoubtfulPairs]:
        decided.append(set(layers))
        return decide(doubts, layers)

    monkeypatch.setattr(Doubts, "_decide", noting)
    child = 1.1 * rows
    child[7] = child[3]
    verdict = _pair(tmp_path, child, rows).check_no_new_collisions([1, 2, "norm"])
    assert [{1, 2, "norm"}] * 2 == decided
    assert 3 == len(verdict.reasons)
    decided.clear()
    (tmp_path / "sound").mkdir()
    assert _pair(tmp_path / "sound", 1.1 * rows, rows).check_no_new_collisions([1, 2]).passed
    assert [{1, 2}] == decided


def test_what_collides_in_the_parent_too_does_not_count(tmp_path: Path, rows: torch.Tensor) -> None:
    """Equal in both: passes, and is counted apart."""
    parent = rows.clone()
    parent[7] = parent[3]
    child = 1.1 * parent
    audit = _pair(tmp_path, child, parent)
    (reason,) = audit.check_no_new_collisions(1).reasons
    assert (0, 1) == (reason.value, reason.figures["both"])
    assert not audit.check_no_collisions(1).passed
    child = child.clone()
    child[9] = child[8]
    (tmp_path / "more").mkdir()
    (reason,) = _pair(tmp_path / "more", child, parent).check_no_new_collisions(1).reasons
    assert (1, 1) == (reason.value, reason.figures["both"])
    assert "1 more collide in the parent too" in reason.evidence


def test_near_pairs_are_new_where_the_parent_keeps_them_apart(
    tmp_path: Path, rows: torch.Tensor
) -> None:
    """Each model in its own units: a relative eps is of its own mean norm."""
    child = rows.clone()
    child[7] = child[3] + 1e-3
    audit = _pair(tmp_path, 10 * child, rows)
    verdict = audit.check_no_new_collisions(1, "0.01 rel")
    assert "1 new near (eps " in verdict.first_line
    assert 1 == verdict.reasons[0].value
    assert audit.check_no_new_collisions(1, 1e-4).passed
    assert audit.check_no_new_collisions(1).passed


def test_states_that_cannot_be_told_apart_are_unresolved(
    tmp_path: Path, rows: torch.Tensor
) -> None:
    """Farther apart in no evaluation than they are from themselves."""
    child = rows.clone()
    child[7] = child[3]
    child[7, 0] = torch.nextafter(child[3, 0], torch.tensor(9.0))
    audit = _pair(tmp_path, child, rows)
    assert "1 new unresolved pair" in audit.check_no_new_collisions(1).first_line


def test_rows_of_the_embedding_are_compared_at_layer_0(tmp_path: Path) -> None:
    """Whether a prompt ends in them or not; it comes first where no layer is named."""
    parent = tiny_decoder(seed=2)
    child = plant_equal_embeddings(tiny_decoder(seed=2), 50, 60)
    audit = audit_against(tmp_path, child, parent, [[i, 2 * i] for i in range(12)])
    verdict = audit.check_no_new_collisions()
    assert verdict.first_line.startswith("FAIL no_new_collisions layer00: 1 new collision")
    assert audit.target.name_of_token(50) in verdict.text
    assert "64 rows of the input embedding compared" in verdict.text
    assert "PASS at layer01, layer02, norm" in verdict.text
    assert 1 == audit.comparison(0).new_collisions
    (tmp_path / "both").mkdir()
    both = plant_equal_embeddings(tiny_decoder(seed=2), 50, 60)
    rounded = round_weights(child, 8)
    again = audit_against(tmp_path / "both", rounded, both, [[i, 2 * i] for i in range(12)])
    assert again.check_no_new_collisions(0).passed


def test_an_embedding_that_is_not_finite_fails(tmp_path: Path) -> None:
    """Of either model."""
    parent, child = tiny_decoder(seed=2), tiny_decoder(seed=2)
    parent.parts.embeddings.weight[60] = torch.nan
    audit = audit_against(tmp_path, child, parent, [[i, 2 * i] for i in range(12)])
    line = audit.check_no_new_collisions(0).first_line
    assert line.endswith("embedding rows not finite: 1 of the parent")


def test_rows_that_are_not_finite_fail(tmp_path: Path) -> None:
    """They are compared with nothing."""
    child = plant_nan(tiny_decoder(), 1)
    audit = audit_against(tmp_path, child, tiny_decoder(seed=1), [[i, 2 * i] for i in range(8)])
    assert "8 of 8 rows are not finite" in audit.check_no_new_collisions(1).first_line


@pytest.mark.parametrize("most", [3, 5, 1000])
def test_more_pairs_than_are_listed_are_still_counted(
    most: int, tmp_path: Path, rows: torch.Tensor
) -> None:
    """Through the parent's pairs, all of which are listed; a lower bound says that it is one."""
    parent, child = rows.clone(), rows.clone()
    for table in (parent, child):
        table[1:3] = table[0]  # 3 pairs in both
    child[10:14] = child[9]  # 10 pairs more
    audit = _pair(tmp_path, child, parent)
    found = find_new_collisions(audit.comparisons.against, 1, Tolerance(0.0), most=most)
    assert (10, 3, True) == (found.count, found.old, found.exact)


def test_a_count_that_is_a_lower_bound_says_so(tmp_path: Path, rows: torch.Tensor) -> None:
    """Where both models have more pairs than are listed."""
    parent, child = rows.clone(), rows.clone()
    for table in (parent, child):
        table[1:3] = table[0]
    child[10:14] = child[9]
    against = _pair(tmp_path, child, parent).comparisons.against
    found = find_new_collisions(against, 1, Tolerance(0.0), most=2)
    assert 0 < found.count <= 10
    assert not found.exact
    assert found.headline.startswith("at least ")
