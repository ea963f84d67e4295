import pytest

from tests.integration.conftest import Run
from tests.integration.support import output

ALL = ["layer01", "layer02", "layer03", "layer04", "norm"]
NAMED = [
    (2, ["layer02"]),
    (-1, ["layer04"]),
    (-4, ["layer01"]),
    (0, ["layer00"]),
    ("norm", ["norm"]),
    ("all", ALL),
    ([3, 1], ["layer01", "layer03"]),
    ((1, "norm", 1), ["layer01", "norm"]),
    (range(1, 3), ["layer01", "layer02"]),
    ("3:", ["layer03", "layer04"]),
    ("0:2", ["layer00", "layer01"]),
    ("-2:", ["layer03", "layer04"]),
    ("1, norm", ["layer01", "norm"]),
    (None, ["layer04"]),
]
REFUSED = [
    (5, "layer 5 is out of range: this model has layers 0 to 4"),
    (-5, "layer -5 is out of range: this model has layers 0 to 4"),
    ("5", "layer 5 is out of range"),
    ([1, 9], "layer 9 is out of range"),
    ("first", "layer 'first' (in 'first') is not of the grammar: give an integer"),
    (1.0, "layer 1.0 (in 1.0) is not of the grammar"),
    (True, "layer True (in True) is not of the grammar"),
    ([], "layers [] name no layer"),
    ("", "layer '' (in '') is not of the grammar"),
    ("4:1", "layers '4:1' name no layer"),
    ("::0", "the step of a slice is at least 1"),
]


def test_a_layer_is_an_int_a_list_a_slice_or_a_name(audited: Run) -> None:
    """Every way to name layers, by position and by name; None means those of --injx-layers."""
    result = audited(
        f"""
        import pytest

        @pytest.mark.parametrize("layer, expected", {NAMED!r})
        def test_layers(injx, layer, expected):
            verdict = injx.check_margin_above(layer, 1e9)
            assert expected == [reason.where for reason in verdict.failing]
            assert verdict == injx.check_margin_above(margin=1e9, layer=layer)
        """,
        "--injx-layers=4",
        model="deep",
    )
    result.assert_outcomes(passed=len(NAMED))


def test_what_names_no_layer_is_wrong_use(audited: Run) -> None:
    """One paragraph with the value and what is accepted; exit status 4; no traceback."""
    result = audited(
        f"""
        import pytest

        @pytest.mark.parametrize("layer", {[layer for layer, _ in REFUSED]!r})
        def test_layer(injx, layer):
            injx.assert_margin_above(layer, margin=1e-12)
        """,
        model="deep",
    )
    result.assert_outcomes(failed=len(REFUSED))
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    text = output(result)
    for _, message in REFUSED:
        assert f"LayerError: {message}" in text or f"LayerError: layers '::0': {message}" in text
    assert len(REFUSED) == text.count("(test_suite.py, line 5)")
    assert "pytest_injectivity/" not in text
