import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity import Audit, AuditConfig, GateFailure, LayerError
from tests.integration.conftest import Run

SCRIPT = """
import json, sys
from pytest_injectivity import Audit, AuditConfig, GateFailure

audit = Audit(AuditConfig(model=sys.argv[1], prompts=sys.argv[2]))
verdict = audit.assert_no_collisions("all")
try:
    audit.assert_margin_above("norm", 1e9)
except GateFailure as failure:
    first = str(failure).splitlines()[0]
print(json.dumps({
    "values": [r.value for r in audit.check_colipschitz_above("all", alpha=1e-12).reasons],
    "first": first,
    "pytest": sorted(name for name in sys.modules if name.split(".")[0] in ("pytest", "_pytest")),
}))
"""


@pytest.mark.slow
def test_the_same_audit_works_without_pytest(
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
    tmp_path: Path,
) -> None:
    """A script gets the same object and the same numbers, and never imports pytest."""
    model, prompts = str(checkpoint("generic")), str(prompt_file(texts))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "script.py", model, prompts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    here = Audit(AuditConfig(model=model, prompts=prompts)).check_colipschitz_above(
        "all", alpha=1e-12
    )
    assert [reason.value for reason in here.reasons] == found["values"]
    assert found["first"].startswith("FAIL margin_above norm: ")
    assert [] == found["pytest"]
    assert "" == done.stderr


def test_a_scripts_numbers_are_those_of_a_test(
    audited: Run,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> None:
    """An Audit made by hand equals the one of the fixture."""
    audit = Audit(AuditConfig(model=str(checkpoint("generic")), prompts=str(prompt_file(texts))))
    expected = [r.value for r in audit.check_margin_above("all", margin=1e-12, q=0.0).reasons]
    result = audited(f"""
        def test_gate(injx):
            verdict = injx.check_margin_above("all", margin=1e-12, q=0.0)
            assert {expected} == [reason.value for reason in verdict.reasons]
    """)
    result.assert_outcomes(passed=1)


def test_a_script_catches_what_it_is_raised(
    checkpoint: Callable[[str], Path], prompt_file: Callable[[list[str]], Path], texts: list[str]
) -> None:
    """A gate is an AssertionError with the verdict's text, wrong use a ValueError."""
    audit = Audit(AuditConfig(model=str(checkpoint("generic")), prompts=str(prompt_file(texts))))
    with pytest.raises(AssertionError) as gate:
        audit.assert_no_collisions("norm", eps=1e9)
    assert isinstance(gate.value, GateFailure)
    assert audit.verdicts[-1].text == str(gate.value)
    with pytest.raises(ValueError, match="layer 9 is out of range") as wrong:
        audit.assert_no_collisions(9)
    assert isinstance(wrong.value, LayerError)
