import re

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output, said

GATE = "def test_gate(injx):\n    injx.assert_margin_above(1, 1e9)\n"


def _names(result: pytest.RunResult) -> set[str]:
    return set(re.findall(r"prompt \d+ \((\w{10}), ", output(result)))


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INJX_HASH_KEY", raising=False)


def test_names_are_drawn_anew_for_each_run(audited: Run) -> None:
    """Without a key, two runs give one prompt two names: hashes of guesses lead nowhere."""
    first, second = _names(audited(GATE)), _names(audited(GATE))
    assert 2 == len(first) == len(second)
    assert not first & second


def test_a_key_makes_names_comparable(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal keys give equal names, by environment, flag and ini; another key gives others."""
    (pytester.path / "key").write_text("one\n")
    one = _names(audited(GATE, "--injx-hash-key-file=key"))
    assert 2 == len(one)
    monkeypatch.setenv("INJX_HASH_KEY", "one")
    assert one == _names(audited(GATE))
    monkeypatch.setenv("INJX_HASH_KEY", "two")
    assert not one & _names(audited(GATE))
    pytester.makeini("[pytest]\ninjx_hash_key_file = key\n")
    assert one == _names(audited(GATE))


def test_a_file_that_cannot_be_read_is_wrong_use(pytester: pytest.Pytester) -> None:
    """No test runs with another key than the one that was meant."""
    pytester.makepyfile("def test_unit():\n    pass\n")
    result = pytester.runpytest_inprocess("--injx-hash-key-file=nowhere")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-hash-key-file nowhere cannot be read (No such file" in said(result)


def test_the_name_is_no_plain_hash_of_the_prompt(audited: Run) -> None:
    """Without the key nobody can tell whether a guessed prompt is in the set."""
    result = audited("""
        import hashlib

        def test_names(injx):
            for at, text in enumerate(injx.prompts.texts):
                name = injx.name_of(at)
                plain = {injx.prompts.hashes[at], hashlib.sha256(text.encode()).hexdigest()}
                assert not [digest for digest in plain if digest[:10] in name]
            injx.check_margin_above(1, margin=1e-12)
    """)
    result.assert_outcomes(passed=1)


def test_the_key_is_written_nowhere(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither header, failure, JUnit nor JSON gives the key away."""
    monkeypatch.setenv("INJX_HASH_KEY", "swordfish")
    result = audited(GATE, "--junitxml=j.xml", "--injx-report=json:r.json", "-vv")
    files = [(pytester.path / name).read_text() for name in ("j.xml", "r.json")]
    for text in (output(result), *files):
        assert "swordfish" not in text
        assert b"swordfish".hex() not in text
