import json
from collections.abc import Callable

import pytest

pytest.importorskip("pytest_rerunfailures")

Run = Callable[..., pytest.RunResult]

FAILING = "def test_fail(injx):\n    injx.assert_margin_above(1, 1e9)\n"
RERUN = ("-p", "rerunfailures", "--reruns=2", "--injx-report=json:r.json", "--junitxml=j.xml")


def test_a_verdict_counts_once_however_often_its_test_ran(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """Of three attempts the last one's: nothing of an earlier attempt is counted or told again."""
    result = audited(FAILING, *RERUN)
    assert {"failed": 1, "rerun": 2} == result.parseoutcomes()
    result.stdout.fnmatch_lines(["*1 of 1 verdict is not PASS"])
    report = json.loads((pytester.path / "r.json").read_text())
    assert ["FAIL"] == [verdict["status"] for verdict in report["verdicts"]]
    assert ["1 gate failed"] == report["outcome"]["why"]


def test_junit_has_each_attempts_verdict_once(audited: Run, pytester: pytest.Pytester) -> None:
    """Three attempts are three verdicts, not one and two and three."""
    audited(FAILING, *RERUN)
    assert 3 == (pytester.path / "j.xml").read_text().count('name="injx.verdict"')


def test_a_verdict_of_a_wider_fixture_stays(audited: Run, pytester: pytest.Pytester) -> None:
    """A module's fixture is not set up again: what it judged still belongs to the run."""
    audited(
        "import pytest\n\n"
        "@pytest.fixture(scope='module')\n"
        "def gate(injx):\n    return injx.check_no_collisions(1)\n\n"
        "tries = []\n\n"
        "def test_flaky(gate, injx):\n"
        "    tries.append(1)\n"
        "    injx.check_margin_above(1, 1e-12)\n"
        "    assert len(tries) == 3\n",
        *RERUN,
    )
    report = json.loads((pytester.path / "r.json").read_text())
    assert ["no_collisions", "margin_above"] == [one["check"] for one in report["verdicts"]]
    assert "green" == report["outcome"]["colour"]
