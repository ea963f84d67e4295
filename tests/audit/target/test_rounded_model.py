"""An audit of a model that rounds its activations: its rows, its scales, its store and its inversion."""

from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Grid, sweep_lengths
from pytest_injectivity.models import loading
from pytest_injectivity.models.calibration import calibrate
from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.results.verdict import Status
from pytest_injectivity.states.capture import capture
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.audits import Witness
from tests.rounding import drawn_prompts, rounding_audit

pytestmark = pytest.mark.usefixtures("empty_store")

GRIDS = ["8", "8 asymmetric", "8 per-token", "6 per-channel clip=99.9"]


class TestStates:
    """What an audit captures, and where its scales come from."""

    @pytest.mark.parametrize("grid", GRIDS)
    def test_rows_are_those_of_the_model_that_rounds(self, tmp_path: Path, grid: str) -> None:
        """Calibrated on all prompts where they are fewer than 64."""
        audit, decoder = rounding_audit(tmp_path, grid), tiny_decoder("llama")
        rounding = calibrate(decoder, audit.prompts.ids, Grid.parse(grid))
        expected = capture(decoder.rounded(rounding), audit.prompts.ids, [1, 2, "norm"]).rows
        plain = capture(decoder, audit.prompts.ids, [1, 2, "norm"]).rows
        assert [1, 2, "norm"] == list(expected)
        for layer, rows in expected.items():
            assert rows.equal(audit.states(layer))
            assert not rows.equal(plain[layer])

    @pytest.mark.parametrize(
        ("grid", "size"), [("8", 64), ("8 calibrated=10", 10), ("8 calibrated=1000", 80)]
    )
    def test_scales_come_from_a_sample_by_hash(self, tmp_path: Path, grid: str, size: int) -> None:
        """As many prompts as the grid says, else 64; the summary has their number and hash."""
        audit = rounding_audit(tmp_path, grid, drawn_prompts(80, shortest=2))
        sample = audit.prompts.subset(size)
        assert Rounded(grid, size, sample.hash) == audit.run_summary().activations
        found, expected = (
            audit.decoder.rounding,
            calibrate(audit.target.unrounded, sample.ids, Grid(8)),
        )
        assert expected.steps.tolist() == found.steps.tolist()

    def test_the_order_of_the_prompts_does_not_matter(self, tmp_path: Path) -> None:
        """Neither to the scales nor to a row."""
        ids = drawn_prompts(30)
        one = rounding_audit(tmp_path / "one", "6 calibrated=10", ids)
        other = rounding_audit(tmp_path / "other", "6 calibrated=10", ids[::-1])
        assert one.states("norm").equal(other.states("norm").flip(0))
        assert one.layer_summary("norm") == other.layer_summary("norm")

    def test_fewer_bits_move_states_farther(self, tmp_path: Path) -> None:
        """From full precision, at every layer."""
        plain = rounding_audit(tmp_path / "plain", None)
        moved = {}
        for bits in (16, 8, 4, 2):
            audit = rounding_audit(tmp_path / str(bits), bits)
            moved[bits] = [
                float((audit.states(layer) - plain.states(layer)).norm()) for layer in audit.layers
            ]
        for finer, coarser in ((16, 8), (8, 4), (4, 2)):
            assert all(a < b for a, b in zip(moved[finer], moved[coarser], strict=True))

    def test_the_tokenizer_and_the_facts_need_no_scales(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The scales need the prompts, and the prompts need the tokenizer and the facts."""
        monkeypatch.setattr("pytest_injectivity.models.calibration.calibrate", pytest.fail)
        audit = rounding_audit(tmp_path, 8)
        assert "8" == audit.facts.activations
        assert audit.target.tokenizer is None
        assert "rounded to 8 bits" in audit.measurements.no_float64()


class TestTheStore:
    """Every grid and every calibration has rows and numbers of its own."""

    def test_another_grid_reads_no_rows(self, tmp_path: Path) -> None:
        """Nor does the plain model; the same grid reads all and loads no weights."""
        first = {grid: rounding_audit(tmp_path, grid) for grid in (None, "8", "8 per-token")}
        summaries = {grid: one.layer_summary(2) for grid, one in first.items()}
        rows = {grid: one.states(2) for grid, one in first.items()}
        assert 3 == len(rows)
        for grid, one in first.items():
            assert one.run_summary().numbers.startswith("computed")
            others = [rows[other] for other in rows if other != grid]
            assert not any(rows[grid].equal(other) for other in others)
            again = rounding_audit(tmp_path, grid)
            assert summaries[grid] == again.layer_summary(2)
            assert rows[grid].equal(again.states(2))
            assert "from the store" == again.run_summary().numbers
            assert not again.target.loaded

    def test_scales_are_kept_as_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A layer more needs the weights, and no calibration."""
        rounding_audit(tmp_path, 8).states(1)
        monkeypatch.setattr("pytest_injectivity.models.calibration.calibrate", pytest.fail)
        assert rounding_audit(tmp_path, 8).states("norm").isfinite().all()

    def test_what_needs_no_prompt_has_the_calibration_in_its_key(self, tmp_path: Path) -> None:
        """Of static scales only: each token's own know no prompt set."""

        def folders(grid: str | None) -> set[str]:
            found = set()
            for seed in (1, 2):
                audit = rounding_audit(tmp_path, grid, drawn_prompts(seed=seed))
                found.add(audit.target.kept.of_model(audit.target.rounded).folder.name)
            return found

        plain, static, dynamic = folders(None), folders("8"), folders("8 per-token")
        assert (1, 2, 1) == (len(plain), len(static), len(dynamic))
        assert 4 == len(plain | static | dynamic)

    def test_one_step_tables_are_of_the_model_that_rounds(self, tmp_path: Path) -> None:
        """At 2 bits tokens collide that were apart: what the plain model found is not read."""
        assert Status.PASS is rounding_audit(tmp_path, None).check_one_step_distinct(1).status
        assert Status.FAIL is rounding_audit(tmp_path, 2).check_one_step_distinct(1).status
        assert Status.PASS is rounding_audit(tmp_path, None).check_one_step_distinct(1).status


class TestInversion:
    """The same model inverts its own states, or says why not."""

    @pytest.mark.parametrize("grid", GRIDS)
    def test_fine_grids_are_inverted(self, tmp_path: Path, grid: str) -> None:
        """Every prompt of a layer, by a resolution that was measured on the model that rounds."""
        audit = rounding_audit(tmp_path, grid, drawn_prompts(12, shortest=8))
        layer = (1, 2, "norm", 2)[GRIDS.index(grid)]
        audit.assert_sipit_recovers(layer, prompts=6, tokens=8)

    def test_coarse_grids_fail_by_ambiguity(self, tmp_path: Path) -> None:
        """At 2 bits of a layer with a sink most tokens are the same state: nothing is guessed."""
        decoder = tiny_decoder("gpt2")
        decoder.parts.base.wte.weight[5] *= 40
        ids = [[5, *prompt] for prompt in drawn_prompts(12, shortest=8)]
        verdict = rounding_audit(tmp_path, 2, ids, decoder=decoder).check_sipit_recovers(
            1, prompts=6, tokens=8
        )
        assert Status.FAIL is verdict.status
        assert "ambiguous (two candidates verify)" in verdict.text

    @pytest.mark.parametrize("policy", ["lm-order", "gradient"])
    def test_every_policy_works(self, tmp_path: Path, policy: str) -> None:
        """The gradient's too: it passes the rounding."""
        audit = rounding_audit(tmp_path, "8", drawn_prompts(8, shortest=4))
        audit.assert_sipit_recovers(1, prompts=2, tokens=4, policy=policy, certify=1)

    def test_equal_embeddings_collide_on_every_grid(self, tmp_path: Path) -> None:
        """In the model, in one-step tables and among prompts."""
        decoder = plant_equal_embeddings(tiny_decoder("gpt2"), 3, 7)
        ids = [[1, 2, 3], [1, 2, 7], [4, 4], [9]]
        audit = rounding_audit(tmp_path, "8 per-token", ids, decoder=decoder)
        verdict = audit.check_no_collisions("all")
        assert {1} == {reason.value for reason in verdict.reasons}
        assert Status.FAIL is audit.check_one_step_distinct("all").status


def test_a_sweep_calibrates_at_every_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model serves all lengths; each has the scales of its own prompts, as audited alone."""
    loads: list[str] = []
    load = loading.load

    def counted(checkpoint: Checkpoint, **named: Any) -> Decoder:
        loads.append(checkpoint.source)
        return load(checkpoint, **named)

    monkeypatch.setattr(loading, "load", counted)
    ids = [row[:8] for row in drawn_prompts(8, shortest=8)]
    config = rounding_audit(tmp_path, 4, ids, layers="1", no_cache=True).config
    points = sweep_lengths(config, [2, 4])
    assert 1 == len(loads)
    for length, point in zip((2, 4), points, strict=True):
        parts = [row[at : at + length] for row in ids for at in range(0, 8, length)]
        alone = rounding_audit(tmp_path / str(length), 4, _subset(parts, point.n))
        assert point.prompt_hash == alone.prompts.hash
        assert point.margin == alone.geometry(1).margin(q=0.0)


def _subset(ids: list[list[int]], n: int) -> list[list[int]]:
    from pytest_injectivity.prompts.promptset import PromptSet

    distinct = tuple(dict.fromkeys(map(tuple, ids)))
    kept = PromptSet("p", distinct, None, special_tokens=False).subset(n).ids
    return [list(row) for row in kept]


def test_what_is_missing_is_announced_once(tmp_path: Path) -> None:
    """That the resolution has no float64 part."""
    witness = Witness()
    audit = rounding_audit(tmp_path, 8, watcher=witness)
    audit.resolution(1)
    (told,) = [one for one in witness.sentences if "float64" in one]
    assert "as its activations are rounded to 8 bits as it runs: the error of the states is" in told
