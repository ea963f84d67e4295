import re

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output

PRINTS = """
def test_gate(injx):
    print("SET", injx.prompts.hash, len(injx.prompts))
    print("EDITS", injx.check_bilipschitz_within("norm", 1e9).reasons[0].value)
"""


def _found(result: pytest.RunResult, what: str) -> str:
    (found,) = re.findall(rf"{what} (.*)", output(result))
    return str(found)


def test_the_seed_draws_the_sample(audited: Run) -> None:
    """Equal seeds draw equal prompts and edits, another seed others; --injx-max-prompts bounds them."""
    flags = ("-s", "--injx-max-prompts=5")
    one, again, other = (audited(PRINTS, *flags, f"--injx-seed={seed}") for seed in ("1", "1", "2"))
    assert _found(one, "SET").endswith(" 5")
    for what in ("SET", "EDITS"):
        assert _found(one, what) == _found(again, what)
        assert _found(one, what) != _found(other, what)


def test_without_a_sample_the_seed_changes_no_prompt(audited: Run) -> None:
    """All prompts are all prompts."""
    one, other = (audited(PRINTS, "-s", f"--injx-seed={seed}") for seed in ("1", "2"))
    assert _found(one, "SET") == _found(other, "SET")


def test_the_order_of_the_file_does_not_matter(audited: Run, texts: list[str]) -> None:
    """The sample and every number are those of the file turned round."""
    suite = PRINTS + "    print('ROW', injx.layer_summary(1))\n"
    flags = ("-s", "--injx-max-prompts=6")
    one = audited(suite, *flags, prompts=texts)
    other = audited(suite, *flags, prompts=texts[::-1])
    for what in ("SET", "EDITS", "ROW"):
        assert _found(one, what) == _found(other, what)
