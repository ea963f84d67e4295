"""Several models in one run: a parameter of every test, one report, each model loaded once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.integration.support import cases, output, properties, run_pytest, said

GATE = """
def test_layers(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)

def test_margin(assert_margin_above):
    assert_margin_above(-1, MARGIN)

def test_unit():
    pass
"""
GREEN, RED = GATE.replace("MARGIN", "1e-9"), GATE.replace("MARGIN", "1e9")
GENERIC = [
    "test_layers[layer01-generic]",
    "test_layers[layer02-generic]",
    "test_layers[norm-generic]",
]

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(
    pytester: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[Sequence[str]], Path],
    texts: list[str],
) -> Run:
    """Runs a suite on the models named, inside this process."""

    def run(
        suite: str, *flags: str, models: Sequence[str] = ("generic", "deep")
    ) -> pytest.RunResult:
        pytester.makepyfile(test_suite=suite)
        named = [f"--injx-model={checkpoint(one)}" for one in models]
        return pytester.runpytest_inprocess(*named, f"--injx-prompts={prompt_file(texts)}", *flags)

    return run


def _collected(result: pytest.RunResult) -> list[str]:
    return [
        line.partition("::")[2] for line in result.outlines if line.startswith("test_suite.py::")
    ]


def test_every_test_of_the_audit_has_the_model_as_parameter(run: Run) -> None:
    """Each has its own layers, and its tests stand together; other tests stay as they are."""
    ids = _collected(run(GREEN, "--collect-only", "-q"))
    deep = [f"test_layers[{layer}-deep]" for layer in ("layer01", "layer02", "layer03", "layer04")]
    generic = [*GENERIC, "test_margin[generic]"]
    assert ["test_unit", *generic, *deep, "test_layers[norm-deep]", "test_margin[deep]"] == ids


def test_one_model_is_no_parameter(run: Run) -> None:
    """Names of tests are those that they always had."""
    ids = _collected(run(GREEN, "--collect-only", "-q", models=["generic"]))
    assert ["test_layers[layer01]", "test_layers[layer02]", "test_layers[norm]"] == ids[:3]
    assert ["test_margin", "test_unit"] == ids[3:]


def test_reports_have_all_models(run: Run, pytester: pytest.Pytester) -> None:
    """JSON, Markdown, JUnit, annotations and the terminal say which is which."""
    kinds = ("json:r.json", "markdown:s.md", "annotations:a.txt")
    reports = [f"--injx-report={kind}" for kind in kinds]
    result = run(RED, *reports, "--junitxml=j.xml")
    assert pytest.ExitCode.TESTS_FAILED == result.ret, output(result)
    report = json.loads((pytester.path / "r.json").read_text())
    assert [("generic", 3), ("deep", 5)] == [
        (one["name"], len(one["layers"])) for one in report["models"]
    ]
    assert (None, []) == (report["run"], report["layers"])
    assert ["generic", "deep"] == list(dict.fromkeys(one["model"] for one in report["verdicts"]))
    markdown = (pytester.path / "s.md").read_text(encoding="utf-8")
    assert "### Audited, generic\n" in markdown
    assert "### Layers, deep\n" in markdown
    assert "| margin_above | layer04 of deep | FAIL: " in markdown
    annotated = (pytester.path / "a.txt").read_text()
    assert (
        "title=margin_above layer02 of generic::FAIL margin_above layer02 of generic: " in annotated
    )
    found = properties(cases(pytester.path / "j.xml")["test_layers[norm-deep]"])
    assert "0 PASS" == found["no_collisions.norm of deep"]
    assert "model generic: " in said(result)
    assert "FAIL margin_above layer04 of deep: " in output(result)


def test_the_command_of_a_failure_repeats_it(run: Run) -> None:
    """With all models, because the names of tests have them."""
    result = run(RED, "-k", "margin and deep")
    (line,) = [one for one in result.outlines if "reproduce: " in one]
    assert "test_suite.py::test_margin[deep]" in line.replace("'", "")
    assert 2 == line.count("--injx-model=")


def test_a_model_that_cannot_be_loaded_fails_its_own_tests(
    run: Run, pytester: pytest.Pytester
) -> None:
    """Its layers are not known, so it has one test for them; wrong use is told once."""
    result = run(
        GREEN, "--injx-model=no/such/place", "--injx-report=json:r.json", models=["generic"]
    )
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.assert_outcomes(passed=5, failed=1, errors=1)
    report = json.loads((pytester.path / "r.json").read_text())
    assert 1 == len(report["wrong_use"])
    assert 1 == output(result).count("no/such/place': no such folder; give")
    assert ["test_suite.py::test_layers[place]", "test_suite.py::test_margin[place]"] == [
        one["nodeid"] for one in report["outcome"]["failed"]
    ]


def test_a_model_named_twice_is_refused(run: Run) -> None:
    """Before any test runs."""
    result = run(GREEN, models=["generic", "generic"])
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "is there twice, loaded the same way" in said(result)


def test_a_typed_model_replaces_that_of_addopts(
    run: Run, pytester: pytest.Pytester, checkpoint: Callable[[str], Path]
) -> None:
    """Of a project's default and a typed one the latter is meant."""
    pytester.makeini(f"[pytest]\naddopts = --injx-model={checkpoint('deep')}\n")
    assert 5 == len(_collected(run(GREEN, "--collect-only", "-q", models=["generic"])))


def test_a_table_names_models_and_how_they_are_loaded(
    run: Run, pytester: pytest.Pytester, checkpoint: Callable[[str], Path]
) -> None:
    """Here each against its own parent."""
    deep, nan = checkpoint("deep"), checkpoint("nan-from-layer-3")
    pytester.makeini(
        "[pytest]\ninjx_models =\n"
        f"    rounded model={deep} dtype=bfloat16 reference={deep}\n"
        f"    broken model={nan} reference={deep}\n"
    )
    suite = "def test_drift(injx):\n    injx.assert_state_drift_below(2, relative=0.5)\n"
    result = run(suite, "--injx-report=json:r.json", models=[])
    assert pytest.ExitCode.OK == result.ret, output(result)
    models = json.loads((pytester.path / "r.json").read_text())["models"]
    assert [("rounded", "bfloat16"), ("broken", "float32")] == [
        (one["name"], one["run"]["dtype"]) for one in models
    ]
    assert [1, 1] == [len(one["comparisons"]) for one in models]


@pytest.mark.slow
def test_a_fixture_of_a_conftest_names_what_is_audited(
    run: Run, pytester: pytest.Pytester, checkpoint: Callable[[str], Path]
) -> None:
    """As parameters, with the names that it gives to tests."""
    pytester.makeconftest(
        f"""
        import pytest
        from pytest_injectivity import AuditConfig

        BOTH = [AuditConfig(model={str(checkpoint("generic"))!r}, prompts=FILE, dtype=dtype)
                for dtype in ("float32", "float64")]

        @pytest.fixture(scope="session", params=BOTH, ids=["single", "double"])
        def injx_config(request):
            return request.param
    """.replace("FILE", repr(str(pytester.path / "p.txt")))
    )
    (pytester.path / "p.txt").write_text("one\ntwo\nthree\n")
    result = run(GREEN, "-v", "--injx-report=json:r.json", models=[])
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert "test_margin[single] PASSED" in output(result)
    result.assert_outcomes(passed=9)
    models = json.loads((pytester.path / "r.json").read_text())["models"]
    assert ["float32", "float64"] == [one["run"]["dtype"] for one in models]


def test_an_audit_of_a_test_is_in_all_reports(run: Run, pytester: pytest.Pytester) -> None:
    """Beside the run's model, under a name of its own."""
    suite = """
        import pytest

        @pytest.mark.parametrize("dtype", ["float32", "float64"])
        def test_own(injx_audit, dtype):
            audit = injx_audit(dtype=dtype)
            assert audit is injx_audit(dtype=dtype)
            audit.assert_no_collisions(1)

        def test_named(injx, injx_audit):
            assert injx is injx_audit()
            injx.assert_no_collisions(1)
            injx_audit(name="mine", seed=3).check_margin_above(1, 1e9)
    """
    result = run(suite, "--injx-report=json:r.json", models=["generic"])
    assert pytest.ExitCode.OK == result.ret, output(result)
    report = json.loads((pytester.path / "r.json").read_text())
    names = ["generic-float32", "generic-float64", "mine"]
    assert names == [one["name"] for one in report["models"]]
    assert [*names[:2], "", "mine"] == [one["model"] for one in report["verdicts"]]
    assert "float32" == report["run"]["dtype"]
    assert "FAIL margin_above layer01 of mine: " in output(result)


def test_a_test_that_asks_while_it_runs_is_told_how(run: Run) -> None:
    """It has no parameter, so it is of no model."""
    suite = "def test_late(request):\n    request.getfixturevalue('injx')\n"
    result = run(suite)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "this run has several models (generic, deep): name injx" in said(result)


def test_each_model_has_a_baseline(run: Run, pytester: pytest.Pytester) -> None:
    """A file for each in the folder; one file for all is refused."""
    suite = "def test_baseline(assert_matches_baseline):\n    assert_matches_baseline(1)\n"
    (pytester.path / "p.txt").write_text("one\ntwo\nthree\n")
    flags = ("--injx-prompts=p.txt", "--injx-baseline=kept")
    result = run(suite, *flags, "--injx-update-baseline")
    assert pytest.ExitCode.OK == result.ret, output(result)
    files = sorted(one.name.partition("--")[0] for one in (pytester.path / "kept").iterdir())
    assert ["deep", "generic"] == files
    assert pytest.ExitCode.OK == run(suite, *flags).ret
    refused = run(suite, "--injx-baseline=kept.json")
    assert pytest.ExitCode.USAGE_ERROR == refused.ret
    assert "is one file, and this run has several models (generic, deep)" in said(refused)


def test_a_plan_is_of_each_model(run: Run) -> None:
    """With the tests that are of it."""
    result = run(GREEN, "--injx-plan")
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert "injectivity: plan of generic" in output(result)
    assert "4 tests collected, 4 of them with checks" in output(result)
    assert "injectivity: plan of deep" in output(result)
    assert "6 tests collected" in output(result)


@pytest.mark.slow
def test_workers_make_no_difference(
    tmp_path: Path,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> None:
    """The report is the same, apart from times and names of prompts."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    models = [f"--injx-model={checkpoint(one)}" for one in ("generic", "deep")]
    flags = (*models, f"--injx-prompts={prompt_file(texts)}", "--injx-report=json:r.json")
    found = []
    for workers in ("0", "2"):
        done = run_pytest(tmp_path, GREEN, "-n", workers, *flags)
        assert 0 == done.status, done.text
        report = json.loads((tmp_path / "r.json").read_text())
        verdicts = [(one["check"], one["model"], one["first_line"]) for one in report["verdicts"]]
        layers = [
            (one["name"], [two["layer"] for two in one["layers"]]) for one in report["models"]
        ]
        found.append((verdicts, layers))
    assert found[0] == found[1]
