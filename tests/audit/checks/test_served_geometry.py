"""Collisions, margins and co-Lipschitz constants of states that an engine wrote."""

from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests import brute_force
from tests.audits import audit_of, small_samples
from tests.served_files import served, write
from tests.served_plants import PLANTS, Scene

AUDITED = [[1, 2, 3], [4, 5, 9, 2], [6, 7, 8]]
IDS = [[at, 30 + at, 7, 5, at, 9] for at in range(1, 8)]
LAYERS = (1, 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_samples(monkeypatch)


def _audit(folder: Path, decoder: Decoder, ids: list[list[int]], **config: Any) -> Audit:
    for at, one in enumerate(ids):
        path = write("vllm", folder / "s", served(decoder, one, LAYERS))
        path.rename(path.with_name(f"{at}.safetensors"))
    states = str(folder / "s")
    return audit_of(
        folder, decoder, AUDITED, states=states, cache_dir=str(folder / "store"), **config
    )


def test_the_margin_is_that_of_the_rows_in_the_files(tmp_path: Path) -> None:
    """Compared with all pairs, at every layer."""
    audit = _audit(tmp_path, tiny_decoder(), IDS)
    verdict = audit.check_served_margin_above(margin=1e-6, q=0.0)
    expected = [
        min(brute_force.nearest(audit.measurements.served.last(layer))[0]) for layer in LAYERS
    ]
    assert expected == pytest.approx([one.value for one in verdict.reasons], rel=1e-12)
    assert "N = 7, mean norm" in verdict.reasons[0].evidence[1]
    assert "captured elsewhere: " in verdict.reasons[0].evidence[-1]


def test_the_co_lipschitz_constant_is_too(tmp_path: Path) -> None:
    """Over all pairs, by edits."""
    audit = _audit(tmp_path, tiny_decoder(), IDS)
    (reason,) = audit.check_served_colipschitz_above(2, 1e-6, q=0.0).reasons
    table = brute_force.ratios(audit.measurements.served.last(2), IDS, "levenshtein")
    assert table.smallest()[0].min() == pytest.approx(reason.value, rel=1e-12)


def test_prompts_without_a_partner_are_counted(tmp_path: Path) -> None:
    """By the hamming metric one of another length has none; the others are judged."""
    audit = _audit(tmp_path, tiny_decoder(), [*IDS, [1, 2, 3]], prompt_metric="hamming")
    (reason,) = audit.check_served_colipschitz_above(2, 1e-6).reasons
    assert "1 of 8 prompts has no admissible partner" in reason.evidence


def test_equal_states_are_named_by_their_files(tmp_path: Path) -> None:
    """Of prompts whose last token has a twin."""
    decoder = plant_equal_embeddings(tiny_decoder(), 3, 40)
    audit = _audit(tmp_path, decoder, [[1, 2, 3], [1, 2, 40], [5, 6, 7]])
    verdict = audit.check_served_no_collisions()
    assert (1.0, "1 equal, 0 near (eps 0)") == (
        verdict.reasons[0].value,
        verdict.reasons[0].headline,
    )
    assert (
        "prompt 0 (0.safetensors, 3 tokens) and prompt 1 (1.safetensors, 3 tokens)"
        in (verdict.reasons[0].evidence[0])
    )
    assert not verdict.passed


def test_states_within_eps_are_near(tmp_path: Path) -> None:
    """What would have passed is the closest pair's distance."""
    audit = _audit(tmp_path, tiny_decoder(), IDS)
    (reason,) = audit.check_served_no_collisions(1, eps="10 rel").reasons
    assert 21.0 == reason.value
    assert reason.would_pass.startswith("eps below ")
    assert audit.check_served_no_collisions(1).passed


def test_states_that_are_not_as_claimed_are_not_measured(tmp_path: Path) -> None:
    """They fail with what they look like."""
    decoder = tiny_decoder(layers=4)
    for at, ids in enumerate(IDS):
        path = write(
            "vllm", tmp_path / "s", PLANTS["zero rows"][0](Scene(decoder, tuple(ids), (2,)))
        )
        path.rename(path.with_name(f"{at}.safetensors"))
    audit = audit_of(tmp_path, decoder, AUDITED, states=str(tmp_path / "s"), no_cache=True)
    found = [
        audit.check_served_no_collisions(),
        audit.check_served_margin_above(margin=0.1),
        audit.check_served_colipschitz_above(alpha=0.1),
    ]
    assert ["2 of 6 rows are zero"] * 3 == [one.reasons[0].headline for one in found]


def test_one_prompt_has_no_geometry(tmp_path: Path) -> None:
    """That is said."""
    audit = _audit(tmp_path, tiny_decoder(), IDS[:1])
    with pytest.raises(OptionError, match="at least 2 are needed for a distance"):
        audit.check_served_margin_above(margin=0.1)
