import pytest

from pytest_injectivity.plugin import check_names
from tests.integration.conftest import Run
from tests.integration.support import output

NAMES = (
    *(f"assert_{name}" for name in check_names()),
    "injx",
    "injx_audit",
    "injx_config",
    "injx_geometry",
    "injx_layer",
    "injx_model",
    "injx_prompts",
    "injx_release",
)


def test_every_fixture_is_listed_with_a_docstring(pytester: pytest.Pytester) -> None:
    """``pytest --fixtures`` shows the fixtures, and none without a word of explanation."""
    listed = output(pytester.runpytest_inprocess("--fixtures"))
    ours = listed.partition("fixtures defined from pytest_injectivity.plugin")[2]
    ours = ours.partition("fixtures defined from ")[0]
    found = [line.split()[0] for line in ours.splitlines() if "[session scope]" in line]
    assert sorted(NAMES) == sorted(found)
    assert "no docstring available" not in ours


def test_the_assertions_are_the_audits(audited: Run) -> None:
    """Each ``assert_*`` fixture is the method of the session's Audit; all tests share that Audit."""
    result = audited("""
        import pytest
        from pytest_injectivity import Audit

        NAMES = ["no_collisions", "margin_above", "colipschitz_above", "bilipschitz_within",
                 "sipit_recovers", "no_continuation_collisions"]

        @pytest.mark.parametrize("name", NAMES)
        def test_method(name, injx, request):
            assert request.getfixturevalue(f"assert_{name}") == getattr(injx, f"assert_{name}")

        seen = []

        @pytest.mark.parametrize("time", [1, 2])
        def test_one_audit(injx, injx_model, injx_prompts, injx_geometry, time):
            assert isinstance(injx, Audit)
            assert injx_model is injx.decoder
            assert injx_prompts is injx.prompts
            assert injx_geometry == injx.geometry
            seen.append(injx)
            assert seen[0] is injx

        def test_compared(assert_no_collisions):
            assert_no_collisions(layer=1, eps=1e-6)
    """)
    result.assert_outcomes(passed=9)
    assert pytest.ExitCode.OK == result.ret


def test_the_fixtures_hold_what_was_asked_for(audited: Run, texts: list[str]) -> None:
    """The model is that of the flag, the prompts those of the file, the geometry theirs."""
    result = audited(f"""
        def test_all(injx_model, injx_prompts, injx_geometry):
            assert {texts!r} == list(injx_prompts.texts)
            assert [list(text.encode()) for text in {texts!r}] == [list(i) for i in injx_prompts.ids]
            assert (2, 16, 256) == (
                injx_model.n_layers, injx_model.hidden_size, injx_model.vocab_size)
            for layer in (1, "norm", -1):
                assert {len(texts)} == len(injx_geometry(layer))
            assert injx_geometry(-1) is injx_geometry(2)
            assert injx_geometry(1, bits=4) is not injx_geometry(1)
    """)
    result.assert_outcomes(passed=1)


def test_an_assertion_returns_its_verdict(audited: Run) -> None:
    """A passing assertion gives the verdict, so that a test can look further."""
    result = audited("""
        def test_verdict(assert_margin_above, assert_no_collisions):
            verdict = assert_margin_above("all", 1e-12)
            assert verdict.passed
            assert ["layer01", "layer02", "norm"] == [r.where for r in verdict.reasons]
            assert assert_no_collisions("norm").check == "no_collisions"
    """)
    result.assert_outcomes(passed=1)


def test_a_gate_may_stand_in_a_fixture(audited: Run) -> None:
    """A gate in a fixture counts as compared, names its test, and its verdict reaches the table."""
    result = audited("""
        import pytest

        @pytest.fixture
        def gate(injx):
            injx.assert_margin_above("all", 1e9)

        def test_guarded(gate):
            pass
    """)
    result.assert_outcomes(errors=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = output(result)
    assert "nothing was compared" not in text
    assert "reproduce: pytest test_suite.py::test_guarded " in text
    assert "1 of 1 verdict is not PASS" in text
    assert "ERROR test_suite.py::test_guarded - FAIL margin_above layer01: " in text
