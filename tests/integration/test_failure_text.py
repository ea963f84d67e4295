import re
from collections.abc import Callable

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output
from tests.repetitions import mostly_slow

CHECKS = {
    "no_collisions": "injx.assert_no_collisions('all', eps=1e9)",
    "no_continuation_collisions": "injx.assert_no_continuation_collisions('all', eps=1e9)",
    "margin_above": "injx.assert_margin_above('all', 1e9, q=0.0)",
    "colipschitz_above": "injx.assert_colipschitz_above('all', 1e9, normalized=True)",
    "bilipschitz_within": "injx.assert_bilipschitz_within('all', 1e-9)",
    "sipit_recovers": "injx.assert_sipit_recovers('all', prompts=2, tokens=4)",
}
SUITE = "".join(f"def test_{check[:6]}(injx):\n    {call}\n\n" for check, call in CHECKS.items())


@pytest.fixture
def failed(audited: Run) -> Callable[..., str]:
    """The output of a run in which every check fails; two equal embedding rows let SipIt fail."""
    prompts = ["ax at a", "ay to b", "bx of c", "by in d"]
    return lambda *flags: output(audited(SUITE, *flags, model="planted", prompts=prompts))


def test_the_first_line_is_the_verdict(failed: Callable[..., str]) -> None:
    """At most 80 columns: status, check, first failing layer, what was found, how many more."""
    first = re.findall(
        r"^E +pytest_injectivity\.errors\.GateFailure: (.*)$", failed(), re.MULTILINE
    )
    assert list(CHECKS) == [line.split()[1] for line in first]
    for line in first:
        assert re.fullmatch(r"FAIL \w+ layer01: .+ \(\+2 more\)", line)
        assert len(line) <= 80


@pytest.mark.parametrize(
    "style",
    mostly_slow(["auto", "long", "short", "line", "native", "no"], "auto", "native"),
)
def test_the_short_summary_is_the_verdict(failed: Callable[..., str], style: str) -> None:
    """A log ends with what failed; the traceback ends in the test (native shows all there is)."""
    text = failed(f"--tb={style}")
    for check in CHECKS:
        assert f"FAILED test_suite.py::test_{check[:6]} - FAIL {check} layer01: " in text
    if style != "native":
        assert "pytest_injectivity/" not in text


def test_the_failure_says_what_one_needs(failed: Callable[..., str]) -> None:
    """What was audited, every failing layer, worst pair, resolution, what passes, how to reproduce."""
    text = failed()
    for check in CHECKS:
        block = text.partition(f"GateFailure: FAIL {check} ")[2].partition("GateFailure\n")[0]
        assert re.search(r"planted \(float32, cpu\), 4 prompts of \d+\.jsonl \[\w{12}\]", block)
        for layer in ("layer01", "layer02", "norm"):
            part = block.partition(f"{layer}: FAIL: ")[2].partition("would have passed: ")
            assert part[2].splitlines()[0], (check, layer)
        if check != "bilipschitz_within":
            assert re.search(r"prompt \d \(\w{10}, 7 tokens\)", block), check
            assert "resolution" in block, check
        assert f"reproduce: pytest test_suite.py::test_{check[:6]} --injx-model=" in block


def test_the_interval_names_its_level(failed: Callable[..., str]) -> None:
    """A quantile comes with its interval, and the interval with its confidence."""
    text = failed()
    assert re.search(r"interval of the separation margin \(min\): \[0, .*\] at 95%", text)


def test_eps_below_the_resolution_is_said(audited: Run) -> None:
    """The verdict prints that, and the resolution (SPEC section 2)."""
    text = output(
        audited(
            "def test_gate(injx):\n    injx.assert_no_collisions(1, eps=1e-30)\n",
            model="planted",
            prompts=["ax", "ay", "b"],
        )
    )
    resolution = re.findall(r"resolution (\S+) over \d+ prompts", text)
    said = re.findall(r"eps 1e-30 is below the resolution: pairs near (\S+) decide", text)
    assert [resolution[0]] == said


def test_a_relative_eps_is_one_of_the_mean_norm(audited: Run) -> None:
    """``"x rel"`` passes and fails as x times the layer's mean norm does."""
    result = audited("""
        import pytest

        @pytest.mark.parametrize("factor", [0.999, 1.001])
        def test_gate(injx, injx_layer, factor):
            geometry = injx.geometry(injx_layer)
            share = factor * geometry.margin(q=0.0) / geometry.mean_norm
            relative = injx.check_no_collisions(injx_layer, eps=f"{share!r} rel")
            absolute = injx.check_no_collisions(injx_layer, eps=share * geometry.mean_norm)
            assert (factor < 1) == relative.passed == absolute.passed
    """)
    result.assert_outcomes(passed=6)


def test_what_is_said_to_pass_passes(audited: Run) -> None:
    """What would have passed passes, asked for as it is said; what is 0.2 % stricter does not."""
    result = audited("""
        import re
        import math

        def said(verdict):
            number = r"[-+.\\w]*\\d[-+.\\w]*"
            return {r.where: re.search(number, r.would_pass)[0] for r in verdict.failing}

        def keys(found, change=float):
            return {"norm" if k == "norm" else int(k[5:]): change(v) for k, v in found.items()}

        def test_margin(injx):
            for normalized in (False, True):
                for q in (0.0, 0.01, 0.3):
                    asked = {"q": q, "normalized": normalized}
                    bounds = keys(said(injx.check_margin_above("all", 1e9, **asked)))
                    assert len(bounds) == 3
                    assert injx.check_margin_above("all", bounds, **asked).passed
                    over = {k: 1.002 * v for k, v in bounds.items()}
                    assert 3 == len(injx.check_margin_above("all", over, **asked).failing)

        def test_colipschitz(injx):
            for normalized in (False, True):
                asked = {"normalized": normalized}
                bounds = keys(said(injx.check_colipschitz_above("all", 1e9, **asked)))
                assert injx.check_colipschitz_above("all", bounds, **asked).passed
                over = {k: 1.002 * v for k, v in bounds.items()}
                assert 3 == len(injx.check_colipschitz_above("all", over, **asked).failing)

        def test_distortion(injx):
            bounds = keys(said(injx.check_bilipschitz_within("all", 0.0)))
            assert injx.check_bilipschitz_within("all", bounds).passed
            under = {k: 0.998 * v for k, v in bounds.items()}
            assert 3 == len(injx.check_bilipschitz_within("all", under).failing)

        def test_eps(injx):
            found = said(injx.check_no_collisions("all", eps=1e9))
            below = keys(found, lambda v: math.nextafter(float(v), 0))
            assert injx.check_no_collisions("all", eps=below).passed
            over = keys(found, lambda v: 1.002 * float(v))
            assert 3 == len(injx.check_no_collisions("all", eps=over).failing)
    """)
    result.assert_outcomes(passed=4)
