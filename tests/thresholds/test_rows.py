"""Thresholds as text, with a row for each precision."""

from pathlib import Path

import pytest

from pytest_injectivity import threshold_for
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.testing import tiny_decoder
from pytest_injectivity.thresholds.precision import Precision
from pytest_injectivity.thresholds.rows import Row, read_rows, row_for
from tests.audits import audit_of

ROWS = "16 bfloat16 0.1\n8 torchao-int8 0.2\n8 bnb-int8 0.25\n4 gguf Q4_0 0.3\nany 0.4"


def test_rows_are_read_as_they_are_written() -> None:
    """A kind may have words of its own."""
    rows = read_rows(ROWS)
    assert rows[3] == Row(Precision(4.0, "gguf Q4_0"), 0.3)
    assert rows[4] == Row(None, 0.4)
    assert ROWS == "\n".join(map(str, rows))


def test_one_number_is_for_every_model() -> None:
    """Also one that stands in a row "any"."""
    assert (Row(None, 0.5),) == read_rows("0.5") == read_rows("\n  any 0.5\n")


@pytest.mark.parametrize(
    ("precision", "value"),
    [
        ((8.0, "bnb-int8"), 0.25),
        ((8.0, "fp8"), 0.2),
        ((16.0, "float16"), 0.1),
        ((4.0, "bnb-nf4"), 0.3),
        ((4.25, "mxfp4"), 0.3),
        ((6.0, "gguf Q6_K"), 0.4),
        ((32.0, "float32"), 0.4),
    ],
)
def test_a_model_is_judged_by_the_row_of_its_precision(
    precision: tuple[float, str], value: float
) -> None:
    """Of its kind, else the first of its bits, else "any"."""
    assert value == row_for(read_rows(ROWS), Precision(*precision)).value


def test_a_model_without_a_row_is_refused() -> None:
    """The error says what there is, and how to have one."""
    with pytest.raises(OptionError) as caught:
        row_for(read_rows("4 bnb-nf4 0.3"), Precision(6.0, "gguf Q6_K"))
    said = "no threshold for a model of 6 gguf Q6_K: there are those for 4 bnb-nf4; calibrate one"
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n ",
        "much",
        "0.1\n0.2",
        "4 0.3",
        "nan",
        "4 bnb-nf4 inf",
        "four bnb-nf4 0.3",
        "any",
        "a 1",
    ],
)
def test_what_is_no_threshold_is_refused(text: str) -> None:
    """The error says what is accepted."""
    with pytest.raises(OptionError, match="give a number, or rows such as"):
        read_rows(text)


@pytest.mark.parametrize("row", ["any 0.1", "4 bnb-nf4 0.1"])
def test_two_rows_for_one_precision_are_refused(row: str) -> None:
    """Nobody would know which one holds."""
    with pytest.raises(OptionError, match="two rows are for"):
        read_rows(f"{row}\n8 int8 0.1\n{row}")


def _facts(dtype: str, quantized: QuantizationInfo | None = None) -> ModelFacts:
    return ModelFacts("gpt2", 2, 16, 64, 64, dtype, 1000, quantized)


def test_the_precision_of_a_model_is_what_was_proved_of_it() -> None:
    """Or its dtype, where its weights are not quantized."""
    proved = QuantizationInfo(kind="bnb-nf4", bits=4, share=1, layers="8 Linear4bit")
    assert Precision(4.0, "bnb-nf4") == Precision.of(_facts("bfloat16", proved))
    assert Precision(16.0, "bfloat16") == Precision.of(_facts("bfloat16"))
    assert Precision(64.0, "float64") == Precision.of(_facts("float64"))


def test_an_audit_is_judged_by_the_row_of_its_model(tmp_path: Path) -> None:
    """An error names the threshold."""
    audit = audit_of(tmp_path, tiny_decoder(), [[1, 2], [3, 4]])
    assert 0.2 == threshold_for(audit, "gate_drift", "16 bfloat16 0.1\n32 float32 0.2")
    with pytest.raises(OptionError, match="gate_drift: no threshold is given: give a number"):
        threshold_for(audit, "gate_drift", "")
    assert threshold_for(audit, "gate_drift", "4 bnb-nf4 0.1", default=None) is None
    assert 0.5 == threshold_for(audit, "gate_drift", "4 bnb-nf4 0.1", default=0.5)
    assert 0.1 == threshold_for(audit, "gate_drift", "32 float32 0.1", default=None)
    with pytest.raises(OptionError, match="gate_drift: no threshold for a model of 32 float32"):
        threshold_for(audit, "gate_drift", "4 bnb-nf4 0.1")
