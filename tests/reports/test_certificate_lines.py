"""Three lines on what is proved, estimated and unknown."""

from pytest_injectivity.reports.certificate_lines import certificate_lines
from pytest_injectivity.results.certificates import Basis, Certificate, Claim
from pytest_injectivity.results.summary import LayerSummary

PROVED = Claim(Basis.PROVED, distinct=True, why="compared")
EQUAL = Claim(Basis.PROVED, distinct=False, why="1 pair equal")
LIKELY = Claim(Basis.ESTIMATED, distinct=True, why="a sample")
NOTHING = Claim(Basis.UNKNOWN, distinct=None, why="not evaluated")


def _layers(*certificates: Certificate | None) -> list[LayerSummary]:
    return [
        LayerSummary(f"layer{at:02d}", None, 3, certificate=one)
        for at, one in enumerate(certificates, 1)
    ]


def test_what_holds_of_all_layers_is_said_once() -> None:
    """And what no run can know is said too."""
    assert certificate_lines(_layers(*[Certificate(PROVED, LIKELY, LIKELY)] * 3)) == [
        "proved: all states differ as captured: all 3 layers",
        "estimated: told apart in any batch: all 3 layers; different in exact arithmetic: all 3 layers",
        "unknown: prompts that are not of the set",
    ]


def test_neighboring_layers_are_named_by_the_first_and_the_last() -> None:
    """What is not known has its reason."""
    good, bad = Certificate(PROVED, LIKELY, NOTHING), Certificate(EQUAL, EQUAL, NOTHING)
    first, *others = certificate_lines(_layers(good, good, bad, good))
    assert first.startswith("proved: all states differ as captured: layer01 to layer02, layer04;")
    assert first.endswith("; states are equal as captured: layer03")
    assert others == [
        "estimated: told apart in any batch: layer01 to layer02, layer04",
        "unknown: in exact arithmetic: all 4 layers (not evaluated); prompts that are not of the set",
    ]


def test_states_that_meet_in_another_batch_are_proved_equal() -> None:
    """Though they differ as captured."""
    first, second, _ = certificate_lines(_layers(Certificate(PROVED, EQUAL, NOTHING)))
    assert first.endswith("as captured: layer01; states are equal in another batch: layer01")
    assert "estimated: nothing" == second


def test_many_reasons_are_counted() -> None:
    """Each layer may have its own."""
    claims = [Claim(Basis.UNKNOWN, None, f"{count} pairs unresolved") for count in range(2, 7)]
    line = certificate_lines(_layers(*(Certificate(PROVED, one, LIKELY) for one in claims)))[2]
    assert "layer03 (4 pairs unresolved) and 2 more; prompts" in line
    assert "layer04" not in line


def test_layers_without_a_certificate_have_no_lines() -> None:
    """As those of runs of older versions."""
    assert [] == certificate_lines(_layers(None, None))
