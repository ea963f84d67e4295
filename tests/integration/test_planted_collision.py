from itertools import combinations

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output, table_rows

# The model gives "x" and "y" one embedding row, so these pairs are equal at every layer...
PROMPTS = [
    *("a box on it", "a boy on it", "xx", "yy", "xy", "tax", "tay", "take x.", "take y."),
    # ... and these have no partner.
    *("x", "box", "zx a", "an axe"),
]
PLANTED = [(0, 1), (2, 3), (2, 4), (3, 4), (5, 6), (7, 8)]
NAMES = ["layer01", "layer02", "norm"]


def test_exactly_the_planted_pairs_are_found_at_every_layer(audited: Run) -> None:
    """The gate counts the planted pairs, no more and no less, at layers 1 to L and the norm."""
    result = audited(
        "def test_gate(injx, injx_layer):\n    injx.assert_no_collisions(injx_layer)\n",
        model="planted",
        prompts=PROMPTS,
    )
    result.assert_outcomes(failed=3)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    for name in NAMES:
        assert f"FAIL no_collisions {name}: {len(PLANTED)} collisions (accidental)" in output(
            result
        )
        assert str(len(PLANTED)) == table_rows(result)[name][1].rstrip("◄")


def test_the_pairs_named_are_the_planted_ones(audited: Run) -> None:
    """Each planted pair alone is named by its two prompts; a pair of other prompts passes."""
    result = audited(
        f"""
        import pytest
        from pytest_injectivity import Audit, AuditConfig

        @pytest.mark.parametrize("left, right", {list(combinations(range(len(PROMPTS)), 2))!r})
        def test_pair(injx, injx_geometry, left, right):
            for layer in (1, 2, "norm"):
                geometry = injx_geometry(layer)
                pairs = geometry.near(0.0)
                found = {{tuple(sorted(p)) for p in zip(pairs.left.tolist(), pairs.right.tolist())}}
                assert ((left, right) in {PLANTED!r}) == ((left, right) in found)
        """,
        model="planted",
        prompts=PROMPTS,
    )
    result.assert_outcomes(passed=len(PROMPTS) * (len(PROMPTS) - 1) // 2)


def test_the_failure_names_the_two_prompts(audited: Run) -> None:
    """One planted pair among others: the line of evidence names its two prompts, at distance 0."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        model="planted",
        prompts=["first", "some box", "second", "some boy"],
    )
    result.stdout.re_match_lines(
        [
            r"E +layer01: FAIL: 1 collision \(accidental\)",
            r"E +collision, distance 0: prompt 1 \(\w{10}, 8 tokens\) and prompt 3 \(\w{10}, 8 tok.*",
            r"E +accidental, .*: draw 1 of the weights moves them .*; .* equal in float64 too",
            r"E +1 of 1 pair diagnosed, .* generic separation is certified",
            r"E +layer02: FAIL: 1 collision",
            r"E +collision, distance 0: prompt 1 \(\w{10}, 8 tokens\) and prompt 3 .*",
            r"E +norm: FAIL: 1 collision",
            r"E +collision, distance 0: prompt 1 \(\w{10}, 8 tokens\) and prompt 3 .*",
        ]
    )


def test_without_the_planted_prompts_the_same_model_passes(audited: Run) -> None:
    """Duplicated embedding rows are a collision only of prompts that differ in them."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        model="planted",
        prompts=["first", "some box", "second", "some cow"],
    )
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret


def test_the_assumptions_line_names_the_duplicated_rows(audited: Run) -> None:
    """The summary says what the collisions come from."""
    result = audited(
        "def test_gate(injx):\n    injx.check_no_collisions(1)\n", model="planted", prompts=PROMPTS
    )
    assert "DUPLICATED" in output(result).partition("assumed")[2].partition("layer ")[0]


def test_collisions_of_layer_0_are_structural(audited: Run) -> None:
    """Layer 0 sees the last token: equal ones collide under all weights, and are called so."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('0,all')\n",
        prompts=["the box", "hat box", "a fox"],
    )
    result.assert_outcomes(failed=1)
    text = output(result)
    assert "FAIL no_collisions layer00: 1 collision (structural)" in text
    assert "structural, the architecture cannot see the difference: " in text
    assert "PASS at layer01, layer02, norm" in text


def test_layer_0_is_left_out_of_all(audited: Run) -> None:
    """Structural collisions are no failure unless layer 0 is named."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        prompts=["the box", "hat box", "a fox"],
    )
    result.assert_outcomes(passed=1)
    assert "layer00" not in output(result)
