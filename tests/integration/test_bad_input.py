import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import Run
from tests.integration.support import output, said

GATE = "def test_gate(injx):\n    injx.assert_no_collisions('all')\n"


def _refused(result: pytest.RunResult, *expected: str) -> None:
    """Exit status 4, one paragraph that says what is wrong, nothing of ours around it."""
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    text = output(result)
    for part in expected:
        assert part in said(result)
    assert "Traceback" not in text
    assert "pytest_injectivity/" not in text
    (paragraph,) = [line for line in text.splitlines() if "(test_suite.py, line 2)" in line]
    assert "INTERNALERROR" not in text
    assert paragraph.partition(": ")[0] in {
        "PromptError",
        "ModelError",
        "OptionError",
        "LayerError",
    }


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "missing.jsonl",
            None,
            ["there is no prompt file", "missing.jsonl", "give a .txt, .jsonl"],
        ),
        ("empty.txt", b"", ["empty.txt is empty", "at least 2 distinct prompts"]),
        ("blank.txt", b"\n \n\n", ["blank.txt", "at least 2 distinct prompts are needed"]),
        ("bad.txt", b"fine\nbad \xff\xfe\n", ["bad.txt, line 2", "not UTF-8", "0xff"]),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', ["bad.jsonl, line 2", "not valid JSON"]),
        ("list.json", b'{"text": "a"}', ["list.json holds a dict", "give a list of strings"]),
        ("one.txt", b"only this\n", ["1 distinct of 1 prompts", "at least 2 distinct prompts"]),
        (
            "same.txt",
            b"one\none\none\n",
            ["dropped 2 as duplicates", "at least 2 distinct prompts"],
        ),
        ("prompts.pkl", b"\x80\x04.", ["prompts.pkl has the suffix '.pkl'", "give a .txt, .jsonl"]),
        ("long.txt", b"a\n" + b"b" * 65 + b"\n", ["context of 64 tokens", "--injx-overlong=drop"]),
        ("ids.jsonl", b'{"ids": [1]}\n{"ids": [256]}\n', ["token id 256", "embedding of 256 rows"]),
        ("minus.jsonl", b'{"ids": [1]}\n{"ids": [-1]}\n', ["minus.jsonl, line 2", "-1", "from 0"]),
    ],
)
def test_prompt_files(
    audited: Run, pytester: pytest.Pytester, name: str, content: bytes | None, expected: list[str]
) -> None:
    """What a prompt file may have wrong is named with the file, and what is accepted."""
    if content is not None:
        (pytester.path / name).write_bytes(content)
    _refused(audited(GATE, f"--injx-prompts={name}"), *expected)


def test_a_tokenizer_whose_ids_exceed_the_embedding(audited: Run) -> None:
    """Named with the prompt, the id and the rows there are; prompts that stay within them are fine."""
    result = audited(GATE, model="narrow", prompts=["plain", "na\u00efve"])
    _refused(result, "prompt 1 (", "token id 195 is outside the model's embedding of 128 rows")
    audited(GATE, model="narrow", prompts=["plain", "text"]).assert_outcomes(passed=1)


def test_a_field_that_is_not_there(audited: Run) -> None:
    """The fields that are there are named."""
    result = audited(GATE, "--injx-prompt-field=body")
    _refused(result, "there is no field 'body'", "the fields are 'text'")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _encoder(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def _encoder_decoder(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))


def _remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))


def _corrupt(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(os.urandom(4096))


def _truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.ones(2)}, folder / "pytorch_model.bin")


def _missing_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_without_config, ["has no config.json"]),
        (_broken_config, ["config.json"]),
        (_encoder, ["bert"]),
        (_encoder_decoder, ["t5"]),
        (_remote_code, ["model_type 'mine'", "never run"]),
        (_corrupt, ["model.safetensors"]),
        (_truncated, ["model.safetensors"]),
        (_without_weights, ["has no weights", "model.safetensors"]),
        (_pickled, ["pytorch_model.bin would be unpickled", "safetensors are accepted"]),
        (_missing_tensor, ["no weights for transformer.h.1.mlp.c_fc.weight"]),
    ],
)
def test_checkpoints(
    audited: Run, tiny: Path, damage: Callable[[Path], None], expected: list[str]
) -> None:
    """A checkpoint that cannot be audited is refused by name, before anything of it runs."""
    damage(tiny)
    _refused(audited(GATE, f"--injx-model={tiny}"), *expected)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("no/such/folder", ["'no/such/folder': no such folder"]),
        ("./nowhere", ["'./nowhere': no such folder", "give a local folder"]),
        ("test_suite.py", ["test_suite.py is a file", "give a local folder"]),
        ("builtin:gpt5", ["builtin:gpt5 is no model of this package", "builtin:gpt2-stdlib"]),
        ("model.gguf", ["model.gguf"]),
    ],
)
def test_models_that_are_not_there(
    audited: Run, monkeypatch: pytest.MonkeyPatch, model: str, expected: list[str]
) -> None:
    """A name that leads nowhere is said to, with what a model may be."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _refused(audited(GATE, f"--injx-model={model}"), *expected)


CALLS = {
    "assert_no_collisions(eps=-1e-9)": "eps=-1e-09 is not a tolerance: give a finite number",
    "assert_no_collisions(eps=float('nan'))": "eps=nan is not a tolerance",
    "assert_no_collisions(eps=float('inf'))": "eps=inf is not a tolerance",
    "assert_no_collisions(eps='small')": "eps='small' is not a tolerance",
    "assert_no_collisions(eps='-1e-5 rel')": "eps='-1e-5 rel' is not a tolerance",
    "assert_no_collisions(eps='nan rel')": "eps='nan rel' is not a tolerance",
    "assert_no_collisions(eps=None)": "eps=None is not a tolerance",
    "assert_no_collisions(eps=True)": "eps=True is not a tolerance",
    "assert_no_collisions(eps=10**400)": "is not a tolerance",
    "assert_no_collisions(bits=1)": "bits=1: give a whole number of bits from 2 to 32",
    "assert_no_collisions(bits=33)": "bits=33: give a whole number of bits",
    "assert_no_collisions(bits=True)": "bits=True: give a whole number of bits",
    "assert_margin_above()": "margin is not given, and the check is judged by it",
    "assert_margin_above('all', 0.0)": "margin=0.0 passes whatever is measured",
    "assert_colipschitz_above('all')": "alpha is not given, and the check is judged by it",
    "assert_colipschitz_above('all', 0.0)": "alpha=0.0 passes whatever is measured",
    "assert_bilipschitz_within()": "distortion is not given, and the check is judged by it",
    "assert_sipit_recovers(min_rate=0)": "min_rate=0 passes whatever is measured",
    "assert_not_recoverable('identity@1')": "neither was given of max_token_rate= and max_excess=",
    "assert_utility_kept('identity@1', 0.0)": "min_agreement=0.0 passes whatever is measured",
    "assert_state_drift_below()": "relative is not given, and the check is judged by it",
    "assert_margin_retained()": "fraction is not given, and the check is judged by it",
    "assert_margin_above(margin=-1.0)": "margin=-1.0 is not a bound: give a finite number",
    "assert_margin_above(margin=float('nan'))": "margin=nan is not a bound",
    "assert_margin_above(margin=float('inf'))": "margin=inf is not a bound",
    "assert_margin_above(margin=10**400)": "is not a bound",
    "assert_margin_above(margin='1')": "margin='1' is not a bound",
    "assert_margin_above(margin=True)": "margin=True is not a bound",
    "assert_margin_above(margin=0.1, q=1.5)": "q=1.5 is not a fraction: give a number from 0 to 1",
    "assert_margin_above(margin=0.1, q=-0.1)": "q=-0.1 is not a fraction",
    "assert_margin_above(margin=0.1, q=float('nan'))": "q=nan is not a fraction",
    "assert_margin_above(margin=0.1, confidence=95)": "confidence=95: give a number between 0 and 1",
    "assert_margin_above(margin=0.1, confidence=0.0)": "confidence=0.0: give a number",
    "assert_margin_above(margin=0.1, confidence=1.0)": "confidence=1.0: give a number",
    "assert_margin_above(margin=0.1, q=0.0, confidence=0.95)": "no sample bounds a population's minimum",
    "assert_colipschitz_above(alpha=-1.0)": "alpha=-1.0 is not a bound",
    "assert_colipschitz_above(alpha=0.1, q=2.0)": "q=2.0 is not a fraction",
    "assert_bilipschitz_within('all', float('nan'))": "distortion=nan is not a bound",
    "assert_bilipschitz_within('all', 1.0, q=9.0)": "q=9.0 is not a fraction",
    "assert_sipit_recovers(min_rate=1.1)": "min_rate=1.1 is not a fraction",
    "assert_sipit_recovers(min_rate=float('nan'))": "min_rate=nan is not a fraction",
    "assert_sipit_recovers(prompts=13)": "13 prompts of 20 tokens were asked for",
    "assert_sipit_recovers(prompts=0)": "prompts=0: give an integer of at least 1",
    "assert_sipit_recovers(prompts=2, tokens=0)": "tokens=0: give an integer of at least 1",
    "assert_sipit_recovers(prompts=2, tokens=2, policy='best')": "'best'",
    "assert_sipit_recovers(prompts=2, tokens=2, certify=-1)": "certify=-1",
    "assert_sipit_recovers(prompts=2, tokens=2, confidence=.95)": "no number of successes proves",
    "geometry('all')": "layer 'all' names 3 layers: give one",
}


def test_arguments(audited: Run) -> None:
    """Every number that makes no sense is refused with its name, its value, what is accepted."""
    suite = "".join(f"def test_{at}(injx):\n    injx.{call}\n\n" for at, call in enumerate(CALLS))
    result = audited(suite, "--no-header", "-rN")
    result.assert_outcomes(failed=len(CALLS))
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    for at, (call, message) in enumerate(CALLS.items()):
        block = output(result).partition(f" test_{at} _")[2].partition("\n")[2]
        paragraph = block.partition("\n___")[0].partition("\n===")[0]
        assert message in paragraph, (call, paragraph)
        assert paragraph.endswith(f"(test_suite.py, line {3 * at + 2})"), (call, paragraph)


def test_hamming_needs_partners(audited: Run) -> None:
    """Fewer than two prompts of equal length have no co-Lipschitz constant under that metric."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_colipschitz_above('all', alpha=0.1)\n",
        "--injx-prompt-metric=hamming",
        prompts=["a", "bb", "ccc"],
    )
    _refused(
        result, "0 of 3 prompts have an admissible partner", "--injx-prompt-metric=levenshtein"
    )


def test_wrong_use_beats_a_failed_gate(audited: Run) -> None:
    """A run with both ends with 4, and both are in its summary."""
    result = audited("""
        def test_gate(injx):
            injx.assert_margin_above(1, 1e9)

        def test_wrong(injx):
            injx.assert_margin_above(9, margin=0.1)
    """)
    result.assert_outcomes(failed=2)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "FAILED test_suite.py::test_gate - FAIL margin_above layer01: " in output(result)
    assert "FAILED test_suite.py::test_wrong - LayerError: layer 9 is out of" in output(result)


def test_wrong_use_that_a_test_expects_is_none(audited: Run) -> None:
    """``pytest.raises`` and ``xfail`` take it: the run is green."""
    result = audited("""
        import pytest
        from pytest_injectivity import LayerError, WrongUse

        def test_raises(injx):
            injx.assert_no_collisions(1)
            with pytest.raises(WrongUse, match="out of range"):
                injx.assert_margin_above(9, margin=0.1)

        @pytest.mark.xfail(raises=LayerError, strict=True)
        def test_xfail(injx):
            injx.assert_margin_above(9, margin=0.1)
    """)
    result.assert_outcomes(passed=1, xfailed=1)
    assert pytest.ExitCode.OK == result.ret


def test_wrong_use_in_a_fixture_is_wrong_use(audited: Run) -> None:
    """A model that does not load fails the fixture that loads it, in one paragraph."""
    result = audited("def test_model(injx_model):\n    pass\n", "--injx-model=./nowhere")
    result.assert_outcomes(errors=1)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "ModelError: './nowhere': no such folder" in output(result)
    assert "pytest_injectivity/" not in output(result)


THREE = "".join(f"def test_{one}(injx):\n    injx.assert_no_collisions('all')\n\n" for one in "abc")


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (
            "--injx-prompt-field=body",
            "PromptError: prompts.jsonl, line 1: there is no field 'body'",
        ),
        ("--injx-model=no/such/folder", "ModelError: "),
    ],
)
def test_one_wrong_setting_is_told_once(
    audited: Run, pytester: pytest.Pytester, flag: str, expected: str
) -> None:
    """The first test says it in full and the others where, on the terminal and in JUnit."""
    path = pytester.path / "prompts.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two"}\n')
    result = audited(THREE, f"--injx-prompts={path}", flag, "--junit-xml=junit.xml")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    failures = output(result).partition("short test summary")[0]
    assert expected in failures
    assert 1 == failures.count("(test_suite.py, line ")
    told = f"{expected.partition(':')[0]}: the same as in test_suite.py::test_a"
    assert 2 == failures.count(told)
    assert 2 == (pytester.path / "junit.xml").read_text().count(f">{told}</failure>")
