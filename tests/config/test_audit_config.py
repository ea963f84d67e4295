import re
import shlex
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_injectivity
from pytest_injectivity.config.audit_config import AuditConfig, config_from
from pytest_injectivity.config.options import (
    SHIPPED_MODEL,
    flag,
    ini_name,
    off_flag,
    options,
)
from pytest_injectivity.config.report_target import ReportTarget
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import Grid

_CORE = {
    *("model", "prompts", "max_prompts", "length", "overlong", "special_tokens", "layers", "dtype"),
    *("device", "batch_tokens", "seed", "report", "show_prompts", "require"),
    *("cache_dir", "no_cache"),
}
"""Flags that DESIGN names and this version has."""


def test_the_core_flags_are_there() -> None:
    """DESIGN's names, as flags and ini values."""
    names = {option.name for option in options()}
    assert set() == _CORE - names
    by_name = {option.name: option for option in options()}
    assert "--injx-max-prompts" == flag(by_name["max_prompts"])
    assert "injx_max_prompts" == ini_name(by_name["max_prompts"])


def test_every_option_explains_itself() -> None:
    """A sentence for --help and a name for the value."""
    assert options()
    for option in options():
        assert option.metadata["help"]
        assert "switch" in option.metadata or option.metadata["metavar"]


def test_defaults_are_accepted_by_their_own_parsers() -> None:
    """What nobody gives is as good as what anybody may give."""
    values = {
        option: value
        for option in options()
        if "switch" not in option.metadata
        and (value := getattr(AuditConfig(), option.name)) is not None
    }
    assert values
    assert values == {option: option.metadata["parse"](value) for option, value in values.items()}


def test_the_default_model_is_the_shipped_one() -> None:
    """``shipped`` says so, and another model is not it."""
    assert SHIPPED_MODEL == AuditConfig().model
    assert AuditConfig().shipped
    assert not AuditConfig(model="gpt2").shipped


def test_a_config_does_not_change() -> None:
    """It is frozen: what was audited stays what was asked for."""
    with pytest.raises(FrozenInstanceError):
        AuditConfig().seed = 1  # type: ignore[misc]


def test_values_and_texts_are_read_alike() -> None:
    """An argument may be what the flag's text stands for."""
    assert AuditConfig(max_prompts=7) == AuditConfig(max_prompts="7")  # type: ignore[arg-type]
    target = ReportTarget("json", "a:b.json")
    for given_as in ("json:a:b.json", ["json:a:b.json"], target, (target,), [target]):
        assert (target,) == AuditConfig(report=given_as).report  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_prompts": 1}, "--injx-max-prompts: 1 is not accepted"),
        ({"max_prompts": True}, "--injx-max-prompts: True is not accepted"),
        ({"max_prompts": 2.0}, "--injx-max-prompts: 2.0 is not accepted"),
        ({"length": "1_0"}, "--injx-length: '1_0' is not accepted"),
        ({"seed": "9" * 30}, "--injx-seed: "),
        ({"seed": None}, "--injx-seed: None is not accepted"),
        ({"model": ""}, "--injx-model: '' is empty"),
        ({"model": None}, "--injx-model: None is empty"),
        ({"layers": 3}, "--injx-layers: 3 is empty"),
        ({"dtype": ["float32"]}, "--injx-dtype: ['float32'] is not accepted"),
        ({"device": "cuda:"}, "--injx-device: 'cuda:' is not accepted"),
        ({"device": "cpu\n"}, "--injx-device: 'cpu\\n' is not accepted"),
        ({"overlong": "DROP"}, "--injx-overlong: 'DROP' is not accepted: give one of refuse, drop"),
        ({"report": "json"}, "--injx-report: 'json' is not a report: give json:PATH"),
        ({"report": ["json:a", "b"]}, "--injx-report: 'b' is not a report"),
        (
            {"report": ["json:a.json", "decision:a.md"]},
            "--injx-report: json:a.json and decision:a.md both write a.json: give two paths",
        ),
        ({"show_prompts": "yes"}, "--injx-show-prompts 'yes' is not accepted: give true or false"),
        ({"require": 1}, "--injx-require 1 is not accepted"),
        ({"seed": False}, "--injx-seed: False is not accepted"),
        ({"batch_tokens": 4096.0}, "--injx-batch-tokens: 4096.0 is not accepted"),
    ],
)
def test_what_is_not_accepted_is_refused_by_name(values: dict[str, object], message: str) -> None:
    """The option, the value and what is accepted."""
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        AuditConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500 * 10**6),
        ("2GiB", 2 * 2**30),
        ("1.5 tb", 15 * 10**11),
        (" 10 kB ", 10_000),
        ("0.5KiB", 512),
        ("7", 7),
        ("7b", 7),
        (12, 12),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    """Powers of 1000, or of 1024 with an i; a bare number is bytes."""
    config = AuditConfig(cache_size=text, memory_budget=text)  # type: ignore[arg-type]
    assert (size, size) == (config.cache_size, config.memory_budget)


@pytest.mark.parametrize(
    "text",
    ["", "0", "0.0001KB", "-1GB", "1e3", "5 G B", "GB", "5PB", "1_000", "\u0665MB", 0, True, 1.5],
)
def test_texts_that_are_no_size_are_refused(text: object) -> None:
    """With what is accepted."""
    with pytest.raises(OptionError, match=r"--injx-cache-size: .* is not a size: give one above 0"):
        AuditConfig(cache_size=text)  # type: ignore[arg-type]


def test_the_store_is_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or where one says; ``~`` is one's home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path / "pytest-injectivity" == AuditConfig().cache_folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / "mine" == AuditConfig(cache_dir="~/mine").cache_folder


def test_where_numbers_are_kept_reproduces_nothing() -> None:
    """The command that repeats an audit says what changes a number, and no more."""
    kept = AuditConfig(cache_dir="x", cache_size=5, no_cache=True, memory_budget=9)
    assert AuditConfig().command_line() == kept.command_line()


@pytest.mark.parametrize("text", ["cuda:0", "cuda:12", "cuda", "mps", "cpu", "auto"])
def test_devices(text: str) -> None:
    """Every device there may be, whether this machine has it or not."""
    assert text == AuditConfig(device=text).device


def test_texts_lose_the_space_around_them() -> None:
    """An ini value may be followed by one."""
    assert "gpt2" == AuditConfig(model=" gpt2 ").model


def test_the_standard_library_is_sampled_by_default() -> None:
    """It has thousands of texts; other sets are taken whole."""
    assert 1000 == AuditConfig().sample
    assert 5 == AuditConfig(max_prompts=5).sample
    assert AuditConfig(prompts="p.txt").sample is None


@given(key=st.text(min_size=1).filter(str.strip))
def test_a_key_that_is_given_is_the_key(key: str) -> None:
    """Equal texts give equal keys."""
    assert AuditConfig(hash_key=key).key() == AuditConfig(hash_key=key).key() != b""


def test_an_empty_key_is_refused_by_its_argument() -> None:
    """The error names the argument, because no flag takes a key."""
    with pytest.raises(OptionError, match=r"^hash_key: '' is empty"):
        AuditConfig(hash_key="")


def test_a_file_holds_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newline at its end is not part of it, and it wins over the environment."""
    monkeypatch.setenv("INJX_HASH_KEY", "other")
    (tmp_path / "key").write_text("swordfish\n")
    assert b"swordfish" == AuditConfig(hash_key_file=str(tmp_path / "key")).key()


def test_the_environment_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither an argument nor a file gives one."""
    monkeypatch.setenv("INJX_HASH_KEY", "swordfish")
    assert b"swordfish" == AuditConfig().key()
    assert b"mine" == AuditConfig(hash_key="mine").key()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"key cannot be read \(No such file"), (" \n", "key is empty: write the key into it")],
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """A missing or empty file is no reason to draw another key."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(OptionError, match=message):
        AuditConfig(hash_key_file=str(file)).key()


def test_an_empty_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that CI does not hand out is an empty variable."""
    monkeypatch.setenv("INJX_HASH_KEY", "")
    with pytest.raises(OptionError, match=r"^INJX_HASH_KEY is empty"):
        AuditConfig().key()


def test_a_key_that_is_not_given_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of at least 128 bits, and never twice."""
    monkeypatch.delenv("INJX_HASH_KEY", raising=False)
    keys = {AuditConfig().key() for _ in range(50)}
    assert 50 == len(keys)
    assert {16} == {len(key) for key in keys}


_WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)
_CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "model": _WORDS.filter(str.strip),
        "prompts": _WORDS.filter(str.strip),
        "conversations": st.sampled_from(["prompt", "whole"]),
        "prompt_field": _WORDS.filter(str.strip),
        "max_prompts": st.integers(2, 10**9),
        "length": st.integers(1, 10**9),
        "overlong": st.sampled_from(["refuse", "drop"]),
        "special_tokens": st.sampled_from(["auto", "yes", "no"]),
        "layers": _WORDS.filter(str.strip),
        "dtype": st.sampled_from(["auto", "float32", "float64"]),
        "seed": st.integers(0, 10**9),
    },
)


@given(_CONFIGS)
def test_the_command_line_is_read_back_as_it_was(values: dict[str, object]) -> None:
    """A shell splits it into flags that give the same config again."""
    config = AuditConfig(**values)  # type: ignore[arg-type]
    read: dict[str, object] = {}
    for word in shlex.split(config.command_line()):
        name, _, value = word.partition("=")
        read[name.removeprefix("--injx-").replace("-", "_")] = value
    assert config == config_from(read, {})


def test_the_command_line_says_what_differs_from_the_defaults() -> None:
    """Nothing else, and neither key nor report nor what only concerns the output."""
    assert "" == AuditConfig().command_line()
    config = AuditConfig(
        model="a b",
        seed=3,
        hash_key="secret",
        report="json:r.json",  # type: ignore[arg-type]
        show_prompts=True,
        require=True,
    )
    assert "'--injx-model=a b' --injx-seed=3" == config.command_line()


def test_a_flag_wins_over_the_ini_which_wins_over_the_default() -> None:
    """Value by value."""
    config = config_from(
        {"seed": "1", "layers": None}, {"seed": "2", "layers": "norm", "dtype": ""}
    )
    assert (1, "norm", "auto") == (config.seed, config.layers, config.dtype)


def test_an_empty_flag_is_a_mistake_and_an_empty_ini_value_is_none() -> None:
    """--injx-model=$UNSET must not audit another model than the one that was meant."""
    with pytest.raises(OptionError, match=r"^--injx-model: '' is empty"):
        config_from({"model": ""}, {"model": "m"})
    assert SHIPPED_MODEL == config_from({"model": None}, {"model": ""}).model


def test_errors_name_the_source_of_a_value() -> None:
    """A flag's by its flag, an ini value's by its name."""
    with pytest.raises(OptionError, match=r"^--injx-seed: "):
        config_from({"seed": "x"}, {"seed": "1"})
    with pytest.raises(OptionError, match=r"^injx_seed: "):
        config_from({}, {"seed": "x"})


def test_a_switch_is_on_by_its_flag_or_its_ini() -> None:
    """A flag that was not given leaves the ini's value."""
    assert config_from({"require": True}, {"require": False}).require
    assert config_from({"require": None}, {"require": True}).require
    assert not config_from({"require": None}, {"require": False}).require


def test_a_flag_switches_off_what_the_ini_switched_on() -> None:
    """False by flag wins over True by ini."""
    assert not config_from({"require": False}, {"require": True}).require


def test_a_switch_has_a_flag_that_switches_it_off() -> None:
    """``no-`` is added to its name, or removed from it."""
    by_name = {option.name: option for option in options()}
    assert "--injx-no-require" == off_flag(by_name["require"])
    assert "--injx-cache" == off_flag(by_name["no_cache"])


def test_messages_name_flags_that_exist() -> None:
    """Every --injx-... and injx_... that the package's texts name is one of its options."""
    flags = {flag(option) for option in options()}
    flags |= {off_flag(option) for option in options() if "switch" in option.metadata}
    named = {
        (path.name, found)
        for path in Path(pytest_injectivity.__file__).parent.rglob("*.py")
        for found in re.findall(r"--injx-[a-z]+(?:-[a-z]+)*", path.read_text())
    }
    assert named
    assert set() == {(file, name) for file, name in named if name not in flags}


def test_every_field_but_the_key_is_an_option() -> None:
    """The command line of a process is no secret, so the key has no flag."""
    every = [field.name for field in fields(AuditConfig)]
    assert [name for name in every if name != "hash_key"] == [one.name for one in options()]


def test_releases_are_read_by_their_grammar() -> None:
    """One or several, parsed once; each is a flag of its own, with its canonical text, when repeated."""
    config = AuditConfig(release=["round(4)@8", "gaussian(0.1 rel)@-1 kv"])  # type: ignore[arg-type]
    assert ("round(bits=4)@8", "gaussian(sigma=0.1 rel)@-1 kv") == tuple(map(str, config.release))
    assert config.release == AuditConfig(release=config.release).release
    said = shlex.split(config.command_line())
    assert [
        "--injx-release=round(bits=4)@8",
        "--injx-release=gaussian(sigma=0.1 rel)@-1 kv",
    ] == said
    with pytest.raises(OptionError, match=r"--injx-release: release 'round\(1\)@8': '1'"):
        AuditConfig(release="round(1)@8")  # type: ignore[arg-type]


def test_activation_bits_are_read_as_people_write_them() -> None:
    """A number, a text or a grid; the command line says the canonical text."""
    for value in (4, "4", "4 bits per-layer", Grid(4)):
        config = AuditConfig(activation_bits=value)
        assert Grid(4) == config.activation_bits
        assert "--injx-activation-bits=4" == config.command_line()
    config = AuditConfig(activation_bits="4 clip=99.9 asymmetric")
    assert "'--injx-activation-bits=4 asymmetric clip=99.9'" == config.command_line()
    for value in (1, True, 4.5, "no", []):
        with pytest.raises(OptionError, match="--injx-activation-bits: "):
            AuditConfig(activation_bits=value)
