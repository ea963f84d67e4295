from dataclasses import Field

import pytest

from pytest_injectivity.config.options import flag, ini_name, off_flag, options
from pytest_injectivity.scale import ray_workers
from tests.integration.support import output, said

REFUSED = {
    "--injx-model=": "--injx-model: '' is empty: give a text",
    "--injx-prompts= ": "--injx-prompts: ' ' is empty: give a text",
    "--injx-prompt-field=": "--injx-prompt-field: '' is empty",
    "--injx-max-prompts=1": "--injx-max-prompts: 1 is not accepted: give an integer of at least 2",
    "--injx-max-prompts=many": "--injx-max-prompts: 'many' is not accepted: give an integer",
    "--injx-max-prompts=": "--injx-max-prompts: '' is not accepted: give an integer",
    "--injx-length=0": "--injx-length: 0 is not accepted: give an integer of at least 1",
    "--injx-length=2.5": "--injx-length: '2.5' is not accepted: give an integer",
    "--injx-overlong=cut": "--injx-overlong: 'cut' is not accepted: give one of refuse, drop",
    "--injx-conversations=half": "--injx-conversations: 'half' is not accepted: give one of prompt,",
    "--injx-special-tokens=maybe": "--injx-special-tokens: 'maybe' is not accepted: give one of auto,",
    "--injx-prompt-metric=cosine": "--injx-prompt-metric: 'cosine' is not accepted: give one of lev",
    "--injx-layers=": "--injx-layers: '' is empty",
    "--injx-dtype=int8": "--injx-dtype: 'int8' is not accepted: give one of auto, float32, bfloat16,",
    "--injx-device=tpu": "--injx-device: 'tpu' is not accepted: give auto, cpu, cuda, cuda:N, mps",
    "--injx-device=cuda:x": "--injx-device: 'cuda:x' is not accepted: give auto, cpu, cuda, cuda:N",
    "--injx-device=cuda:\u0663": "--injx-device: 'cuda:\u0663' is not accepted",
    "--injx-load=half": "--injx-load: 'half' is not accepted: give one of auto, whole, stream",
    "--injx-quantization=int3": "--injx-quantization: 'int3' is not accepted: give one of bnb-nf4",
    "--injx-quantization=": "--injx-quantization: '' is not accepted",
    "--injx-activation-bits=1": "--injx-activation-bits: bits=1: give a whole number of bits from 2",
    "--injx-activation-bits=4 per-row": "--injx-activation-bits: bits='4 per-row': give a whole",
    "--injx-states=": "--injx-states: '' is empty",
    "--injx-reference=": "--injx-reference: '' is empty",
    "--injx-release=blur@4": "--injx-release: ",
    "--injx-decision=size < 1": "--injx-decision: 'size < 1' is no rule of a decision: give",
    "--injx-evaluation=": "--injx-evaluation: '' is empty",
    "--injx-reference-evaluation=": "--injx-reference-evaluation: '' is empty",
    "--injx-batch-tokens=0": "--injx-batch-tokens: 0 is not accepted: give an integer of at least 1",
    "--injx-workers=0": "--injx-workers: '0' is not accepted: give a number of workers from 1 on, or",
    "--injx-workers=http://here:1": "--injx-workers: 'http://here:1' is not accepted: give a number",
    "--injx-workers=ray://here": "--injx-workers: 'ray://here' is not accepted: give a number of",
    "--injx-memory-budget=0": "--injx-memory-budget: '0' is not a size: give one above 0 such as 500MB",
    "--injx-memory-budget=half": "--injx-memory-budget: 'half' is not a size",
    "--injx-cache-dir=": "--injx-cache-dir: '' is empty",
    "--injx-cache-size=10XB": "--injx-cache-size: '10XB' is not a size: give one above 0 such as 500MB",
    "--injx-cache-size=-1GB": "--injx-cache-size: '-1GB' is not a size",
    "--injx-tflops=0": "--injx-tflops: '0' is not accepted: give a number above 0,",
    "--injx-tflops=fast": "--injx-tflops: 'fast' is not accepted: give a number above 0,",
    "--injx-tflops=inf": "--injx-tflops: 'inf' is not accepted: give a number above 0,",
    "--injx-seed=-1": "--injx-seed: -1 is not accepted: give an integer of at least 0",
    "--injx-seed=1e3": "--injx-seed: '1e3' is not accepted: give an integer",
    "--injx-hash-key-file=": "--injx-hash-key-file: '' is empty",
    "--injx-baseline=": "--injx-baseline: '' is empty: give a text",
    "--injx-report=html": "--injx-report: 'html' is not a report: give json:PATH",
    "--injx-report=json:": "--injx-report: 'json:' is not a report: give json:PATH",
    "--injx-report=pickle:x": "--injx-report: 'pickle:x' is not a report: give json:PATH",
    "--injx-report=": "--injx-report: '' is not a report: give json:PATH",
}


def test_every_flag_is_covered_here() -> None:
    """A flag that takes a value has at least one value that it refuses, tested below."""
    takes_value = {flag(option) for option in options() if "switch" not in option.metadata}
    assert takes_value == {given.partition("=")[0] for given in REFUSED}


@pytest.mark.parametrize(("given", "message"), REFUSED.items())
def test_a_value_that_is_not_accepted_is_wrong_use(
    pytester: pytest.Pytester, given: str, message: str
) -> None:
    """The error names flag, value and what is accepted; exit status 4 before any test runs."""
    pytester.makepyfile("def test_unit():\n    print('RAN')\n")
    result = pytester.runpytest_inprocess(given, "-s")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert f"ERROR: {message}" in said(result)
    assert "RAN" not in output(result)
    assert "Traceback" not in output(result)


@pytest.mark.parametrize(
    "given",
    ["--injx-modle=x", "--injx-mod=x", "--injx-require=yes", "--injx-model", "--injx-hash-key=x"],
)
def test_a_flag_that_is_not_there_is_wrong_use(pytester: pytest.Pytester, given: str) -> None:
    """Misspelt, abbreviated, with a value it does not take or without the one it needs."""
    assert pytest.ExitCode.USAGE_ERROR == pytester.runpytest_inprocess(given).ret


def test_help_lists_every_flag_and_its_ini_value(pytester: pytest.Pytester) -> None:
    """One group of flags, each with a sentence; each ini value is listed too."""
    text = output(pytester.runpytest_inprocess("--help"))
    group = text.partition("audit of a causal language model's injectivity:")[2]
    group = group.partition("\n\n")[0]
    for option in options():
        assert f"{flag(option)}" in group
        assert f"{ini_name(option)} (" in text
    assert len(list(options())) == group.count("  --injx-")


PRINTS = """
def test_config(injx):
    print("VALUE", FIELD)
"""
VALUES = {
    "model": ("some/model", "other/model"),
    "prompts": ("p.txt", "q.txt"),
    "prompt_field": ("body", "title"),
    "max_prompts": ("7", "8"),
    "length": ("9", "10"),
    "overlong": ("drop", "refuse"),
    "special_tokens": ("no", "auto"),
    "conversations": ("whole", "prompt"),
    "prompt_metric": ("hamming", "levenshtein"),
    "layers": ("1:", "all"),
    "dtype": ("float64", "auto"),
    "device": ("cpu", "auto"),
    "states": ("some.safetensors", "other.safetensors"),
    "quantization": ("bnb-nf4", "torchao-int8"),
    "load": ("stream", "auto"),
    "batch_tokens": ("64", "4096"),
    "workers": ("7", "ray://here:10001"),
    "memory_budget": ("500", "600"),
    "cache_dir": ("some/store", "other/store"),
    "activation_bits": ("4", "8 asymmetric"),
    "cache_size": ("500", "10000000000"),
    "seed": ("3", "0"),
    "tflops": ("3.5", "4.0"),
    "hash_key_file": ("some/key", "other/key"),
    "baseline": ("some/baselines", "other/baselines"),
    "reference": ("some/parent", "other/parent"),
    "release": ("round(bits=4)@2", "round(bits=8)@2"),
    "report": ("json:a.json", "json:b.json"),
}


def _value(pytester: pytest.Pytester, field: str, *flags: str) -> str:
    read = f"repr(injx.config.{field})"
    if field == "release":
        read = "str(injx.config.release[0])"  # its text, which it was parsed from
    pytester.makepyfile(test_value=PRINTS.replace("FIELD", read))
    result = pytester.runpytest_inprocess("-s", *flags)
    (line,) = [line for line in result.outlines if "VALUE " in line]
    return line.partition("VALUE ")[2].removesuffix(".").strip("'")


@pytest.mark.parametrize("field", VALUES)
def test_a_flag_wins_over_its_ini_value(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """The ini value holds where no flag is given; a flag wins, also with the default's value."""
    # Ray need not be there to read how many workers are asked for.
    monkeypatch.setattr(ray_workers, "check_installed", lambda _: None)
    ini, given = VALUES[field]
    if field == "hash_key_file":  # the one file that is read before a test asks for it
        for name in VALUES[field]:
            (pytester.path / name).parent.mkdir(exist_ok=True)
            (pytester.path / name).write_text("k")
    pytester.makeini(f"[pytest]\ninjx_{field} = {ini}\n")
    assert ini in _value(pytester, field).replace("', path='", ":")
    switch = f"--injx-{field.replace('_', '-')}={given}"
    value = _value(pytester, field, switch).replace("', path='", ":")
    assert given in value
    assert ini not in value


def test_every_flag_with_a_value_has_its_ini_tested() -> None:
    """The table above is complete; the files of a decision are read first (test_decision.py)."""
    of_decisions = {"decision", "evaluation", "reference_evaluation"}
    assert set(VALUES) | of_decisions == {o.name for o in options() if "switch" not in o.metadata}


# With --injx-plan no test runs that could show its value: test_plan.py tests its two flags.
SWITCHES = [o for o in options() if "switch" in o.metadata and o.name != "plan"]


@pytest.mark.parametrize("field", ["require", "show_prompts", "no_cache"])
def test_a_switch_is_on_by_flag_or_by_ini(pytester: pytest.Pytester, field: str) -> None:
    """Off by default."""
    assert "False" == _value(pytester, field)
    assert "True" == _value(pytester, field, f"--injx-{field.replace('_', '-')}")
    pytester.makeini(f"[pytest]\ninjx_{field} = yes\n")
    assert "True" == _value(pytester, field)
    pytester.makeini(f"[pytest]\ninjx_{field} = false\n")
    assert "False" == _value(pytester, field)


@pytest.mark.parametrize("option", SWITCHES, ids=lambda option: option.name)
def test_a_flag_switches_off_what_the_ini_switches_on(
    pytester: pytest.Pytester, option: "Field[bool]"
) -> None:
    """The last of several flags wins."""
    pytester.makeini(f"[pytest]\n{ini_name(option)} = yes\ninjx_baseline = baselines\n")
    assert "False" == _value(pytester, option.name, off_flag(option))
    assert "True" == _value(pytester, option.name, off_flag(option), flag(option))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-n2"], "--injx-workers=2: workers of pytest-xdist measure side by side already"),
        ([], "--injx-workers=2 needs ray: pip install"),
        (["--injx-device=balanced"], "--injx-workers=2: each worker loads the model, and"),
    ],
)
def test_workers_that_cannot_be_had_are_wrong_use(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    """Beside those of pytest-xdist, or without Ray: refused before any test runs."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    monkeypatch.setattr(ray_workers, "find_spec", lambda _: None)
    pytester.makepyfile("def test_unit():\n    print('RAN')\n")
    result = pytester.runpytest_inprocess("--injx-workers=2", "-s", *given)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert f"ERROR: {message}" in said(result)
    assert "RAN" not in output(result)
