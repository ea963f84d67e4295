"""Captured states rounded to a grid: every ``bits=`` takes a text."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import OptionError
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.rounded_rows import quantize
from tests.rounding import rounding_audit


class TestCapturedStates:
    """Every ``bits=`` takes a text."""

    def test_a_text_that_is_a_number_is_the_number(self, tmp_path: Path) -> None:
        """One geometry, one summary, one row of the report."""
        audit = rounding_audit(tmp_path, None)
        assert audit.geometry(1, bits=4) is audit.geometry(1, bits="4 bits symmetric")
        assert audit.layer_summary(1, 4) == audit.layer_summary(1, "4")
        assert (4, "the set itself") == (
            audit.layer_summary(1, "4").bits,
            audit.layer_summary(1, "4").scale,
        )
        assert ((1, 4),) == tuple(one for one in audit.measurements.measured if one[1] is not None)

    @pytest.mark.parametrize("grid", ["3 asymmetric", "3 per-token", "3 per-channel clip=90"])
    def test_numbers_are_those_of_the_grid(self, tmp_path: Path, grid: str) -> None:
        """Collisions on what is stored, margins on the values; twice from the store."""
        expected = None
        for _ in range(2):
            audit = rounding_audit(tmp_path, None)
            rounded = quantize(audit.states(2), grid)
            found = audit.layer_summary(2, grid)
            assert (grid, EqualRows.of(rounded.stored).pairs) == (found.bits, found.collisions)
            assert float(torch.pdist(rounded.rows).min()) == pytest.approx(found.margin)
            assert expected in (None, found)
            expected = found

    def test_a_calibrated_grid_has_the_scale_of_its_sample(self, tmp_path: Path) -> None:
        """Whatever the order of the prompts."""
        audit = rounding_audit(tmp_path, None)
        sample = set(audit.prompts.subset(5).hashes)
        known = [one in sample for one in audit.prompts.hashes]
        rows = audit.states(1)
        found = audit.geometry(1, bits="4 calibrated=5")
        assert quantize(rows, "4", rows[known]).rows.equal(found.rows)
        assert not audit.geometry(1, bits=4).rows.equal(found.rows)
        by_hand = audit.geometry(1).quantized("4", rows[known])
        assert found.margin() == by_hand.margin()
        assert audit.geometry(1).quantized(4).margin() == audit.geometry(1, bits=4).margin()

    def test_failures_name_the_grid_and_its_scale(self, tmp_path: Path) -> None:
        """As evidence of collisions, and in the name of a quantity."""
        audit = rounding_audit(tmp_path, None)
        audit_text = audit.check_no_collisions(1, bits="2 asymmetric per-channel", eps=1e9).text
        assert (
            "states rounded to 2 bits asymmetric per-channel, scale: the set itself; equal codes"
            " collide; resolution before rounding"
        ) in audit_text
        tokens = audit.check_no_collisions(1, bits="2 per-token", eps=1e9).text
        assert "2 bits per-token, scale: each token's own; equal codes of one scale coll" in tokens
        plain = audit.check_no_collisions(1, bits=2, eps=1e9).text
        assert "states rounded to 2 bits; equal codes collide; resolution" in plain
        for check in (audit.check_margin_above, audit.check_colipschitz_above):
            verdict = check(1, 1e9, bits="4 calibrated=5")
            assert "(q=0.01, 4 bits calibrated=5)" in verdict.reasons[0].quantity
            assert "scale of the grid: the 5 prompts of smallest hash" in verdict.text
            assert "scale of the grid" not in check(1, 1e9, bits=4).text

    @pytest.mark.parametrize("bits", ["4 per-row", 1])
    def test_what_is_no_grid_is_refused_by_every_check(self, tmp_path: Path, bits: Any) -> None:
        """Before anything is measured."""
        audit = rounding_audit(tmp_path, None)
        for check in (
            audit.check_no_collisions,
            partial(audit.check_margin_above, margin=0.1),
            partial(audit.check_colipschitz_above, alpha=0.1),
            audit.geometry,
            audit.layer_summary,
        ):
            with pytest.raises(OptionError, match="give a whole number of bits from 2 to 32"):
                check(1, bits=bits)
        assert () == audit.measurements.measured

    def test_states_of_a_model_that_rounds_may_be_rounded_again(self, tmp_path: Path) -> None:
        """To its own grid, nothing moves where the scale is the layer's own largest."""
        audit = rounding_audit(tmp_path, "6 per-token")
        rows = audit.states(1)
        again = audit.geometry(1, bits="6 per-token").rows
        torch.testing.assert_close(rows.double(), again, rtol=1e-6, atol=0)
