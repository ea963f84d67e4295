"""Every option of an audit, once: a field of `AuditConfig` is a flag, an ini value and an argument.

The field ``max_prompts`` is the flag ``--injx-max-prompts``, its ini twin ``injx_max_prompts`` and
the argument ``AuditConfig(max_prompts=...)``. One parser reads all three: it takes a text or a value
that is right already, and raises `OptionError` with the value and what is accepted.

Standard library only: pytest reads this file on every start.
"""

import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pytest_injectivity.errors import OptionError

PREFIX = "injx"
SHIPPED_MODEL = "builtin:gpt2-stdlib"
_STDLIB_PROMPTS = 1000

T = TypeVar("T")


class ReportTarget(NamedTuple):
    """A report to write: ``json:PATH``."""

    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}"


REPORT_KINDS = ("json",)


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise OptionError(f"{value!r} is empty: give a text")


def _choice(*accepted: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value in accepted:
            return str(value)
        raise OptionError(f"{value!r} is not accepted: give one of {', '.join(accepted)}")

    return parse


def _pattern(pattern: str, accepted: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII):
            return value
        raise OptionError(f"{value!r} is not accepted: give {accepted}")

    return parse


def _integer(smallest: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= smallest:
            return value
        raise OptionError(f"{value!r} is not accepted: give an integer of at least {smallest}")

    return parse


_UNITS = {"": 1, "b": 1} | {
    f"{letter}{unit}": base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in (("b", 1000), ("ib", 1024))
}


def _size(value: object) -> int:
    """Bytes: ``500MB``, ``2GiB``, ``1.5 TB``, or a number of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    read = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)\s*", str(value).lower(), re.ASCII)
    if isinstance(value, str) and read and read[2] in _UNITS:
        size = int(float(read[1]) * _UNITS[read[2]])
        if size > 0:
            return size
    raise OptionError(f"{value!r} is not a size: give one above 0 such as 500MB, 2GiB or 1.5TB")


def _reports(value: object) -> tuple[ReportTarget, ...]:
    if isinstance(value, (list, tuple)) and not isinstance(value, ReportTarget):
        return tuple(target for item in value for target in _reports(item))
    if isinstance(value, ReportTarget):
        return (value,)
    kind, colon, path = str(value).partition(":")
    if kind in REPORT_KINDS and colon and path:
        return (ReportTarget(kind, path),)
    kinds = " or ".join(f"{kind}:PATH" for kind in REPORT_KINDS)
    raise OptionError(f"{value!r} is not a report: give {kinds}")


def _option(
    default: object,
    parse: Callable[[object], Any],
    metavar: str,
    explanation: str,
    *,
    repeatable: bool = False,
) -> Any:
    metadata = {
        "parse": parse,
        "metavar": metavar,
        "help": explanation,
        "repeatable": repeatable,
    }
    return field(default=default, metadata=metadata)


def _switch(explanation: str) -> Any:
    return field(default=False, metadata={"help": explanation, "switch": True})


@dataclass(frozen=True)
class AuditConfig:
    """What to audit and how. Every field is also the flag and ini value of that name.

    Raises:
        OptionError: a value is not accepted; the message names the option, the value and what is.
    """

    model: str = _option(
        SHIPPED_MODEL,
        _text,
        "MODEL",
        "a checkpoint's folder, a .gguf file, a hub id, or a built-in model",
    )
    quantization: str | None = _option(
        None,
        _choice("bnb-nf4", "bnb-fp4", "bnb-int8", "torchao-int8", "torchao-int4", "torchao-float8"),
        "KIND",
        "quantise a full-precision checkpoint while it is loaded: bnb-nf4, bnb-fp4, bnb-int8 (extra"
        " bnb), torchao-int8, torchao-int4, torchao-float8 (extra torchao)",
    )
    prompts: str = _option(
        "builtin:stdlib",
        _text,
        "PROMPTS",
        "a .txt, .jsonl, .json, .csv or .parquet file, a folder of texts, or builtin:stdlib,"
        " builtin:random, builtin:challenge, builtin:challenge(SOURCE)",
    )
    prompt_field: str | None = _option(
        None,
        _text,
        "NAME",
        "the field that holds the prompt (default: text, prompt, or the only one)",
    )
    max_prompts: int | None = _option(
        None,
        _integer(2),
        "N",
        f"a sample of at most N prompts, drawn by hash (default: all; {_STDLIB_PROMPTS} of"
        " builtin:stdlib)",
    )
    length: int | None = _option(
        None, _integer(1), "T", "cut texts into equal windows of T tokens, special tokens included"
    )
    overlong: str | None = _option(
        None,
        _choice("refuse", "drop"),
        "refuse|drop",
        "what becomes of prompts longer than the context (default: refuse; of built-in sets, whose"
        " texts nobody chose: drop)",
    )
    special_tokens: str = _option(
        "auto",
        _choice("auto", "yes", "no"),
        "auto|yes|no",
        "whether BOS is added: as the tokenizer does, always, never",
    )
    prompt_metric: str = _option(
        "levenshtein",
        _choice("levenshtein", "hamming", "levenshtein/length", "hamming/length"),
        "METRIC",
        "prompt metric of co-Lipschitz constants: levenshtein, hamming, or either per length"
        " (levenshtein/length, hamming/length)",
    )
    layers: str = _option(
        "all", _text, "LAYERS", 'layers audited: "all", "norm", 4, -1, "4:", "2,4,norm"'
    )
    states: str | None = _option(
        None,
        _text,
        "FILE",
        "a .safetensors file of states captured elsewhere, to be read with this model (its format:"
        " pytest_injectivity.states.foreign)",
    )
    dtype: str = _option(
        "auto",
        _choice("auto", "float32", "bfloat16", "float16", "float64"),
        "DTYPE",
        "what the model computes in: auto (the checkpoint's), float32, bfloat16, float16, float64",
    )
    device: str = _option(
        "auto",
        _pattern(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, cuda, cuda:N or mps"),
        "DEVICE",
        "where it computes: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps",
    )
    batch_tokens: int = _option(
        4096, _integer(1), "N", "tokens of one forward pass, padding included"
    )
    memory_budget: int | None = _option(
        None,
        _size,
        "SIZE",
        "memory for states and their geometry, such as 8GB: beyond it states stay on disk, mapped,"
        " and layers are let go in turn (default: half of what is free)",
    )
    cache_dir: str | None = _option(
        None,
        _text,
        "DIR",
        "keeps hidden states and finished numbers between runs (default: the user's cache folder);"
        " as sensitive as the prompts: only you can read it, and python -m pytest_injectivity purge"
        " empties it",
    )
    cache_size: int = _option(
        10 * 10**9,
        _size,
        "SIZE",
        "what it may hold, such as 500MB or 2GiB: what was not used for longest goes (default: 10GB)",
    )
    no_cache: bool = _switch(
        "keep states and numbers for this run only, in a temporary folder that is removed at its end"
    )
    seed: int = _option(0, _integer(0), "N", "seeds every sample and every random choice")
    hash_key: str | None = _option(
        None, _text, "KEY", "keys the hashes that name prompts in reports (default: drawn per run)"
    )
    report: tuple[ReportTarget, ...] = _option(
        (), _reports, "TYPE:PATH", "write a report: json:PATH (may be given again)", repeatable=True
    )
    show_prompts: bool = _switch("show the text of prompts in failures and reports")
    require: bool = _switch("fail the run when nothing was compared")

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if "switch" in option.metadata:
                if not isinstance(value, bool):
                    raise OptionError(
                        f"{flag(option)} {value!r} is not accepted: give true or false"
                    )
            elif value != option.default:
                object.__setattr__(self, option.name, _parsed(option, value))

    @property
    def shipped(self) -> bool:
        """Whether the audited model is the small one this package ships."""
        return self.model == SHIPPED_MODEL

    @property
    def sample(self) -> int | None:
        """``max_prompts``, or the default sample of the standard library's thousands of texts."""
        if self.max_prompts is None and self.prompts == "builtin:stdlib":
            return _STDLIB_PROMPTS
        return self.max_prompts

    @property
    def drops_overlong(self) -> bool:
        """Whether prompts longer than the context are dropped and counted; refused otherwise."""
        if self.overlong is None:
            return self.prompts.startswith("builtin:")
        return self.overlong == "drop"

    @property
    def cache_folder(self) -> Path:
        """The store: ``cache_dir``, or the operating system's place for this user's caches."""
        if self.cache_dir is not None:
            return Path(self.cache_dir).expanduser()
        import platformdirs

        return platformdirs.user_cache_path("pytest-injectivity")

    def key(self) -> bytes:
        """The key of the prompt hashes: the one given, or a new random one."""
        return self.hash_key.encode() if self.hash_key else secrets.token_bytes(16)

    def command_line(self) -> str:
        """The flags that differ from the defaults, quoted for a shell; no key, no report.

        Those that change no number are left out: where numbers are kept, and in how much memory.
        """
        unsaid = {"hash_key", "report", "require", "show_prompts", "memory_budget"}
        unsaid |= {"cache_dir", "cache_size", "no_cache"}
        given = [option for option in fields(self) if option.name not in unsaid]
        return shlex.join(
            f"{flag(option)}={getattr(self, option.name)}"
            for option in given
            if getattr(self, option.name) != option.default
        )


def flag(option: "Field[Any]") -> str:
    """``--injx-max-prompts`` for the field ``max_prompts``."""
    return f"--{PREFIX}-{option.name.replace('_', '-')}"


def ini_name(option: "Field[Any]") -> str:
    """``injx_max_prompts`` for the field ``max_prompts``."""
    return f"{PREFIX}_{option.name}"


def options() -> Iterator["Field[Any]"]:
    """The fields of `AuditConfig`, in the order of ``--help``."""
    return iter(fields(AuditConfig))


def config_from(given: Mapping[str, object], ini: Mapping[str, object]) -> AuditConfig:
    """The config of a run: a flag wins over its ini twin, which wins over the default.

    Args:
        given: values of flags by field name; None and False were not given.
        ini: values of ini options by field name; empty ones were not given.

    Raises:
        OptionError: a value is not accepted; the message says by which name it was given.
    """
    values: dict[str, Any] = {}
    for option in options():
        # An empty flag is a mistake, such as an unset variable; an ini has the empty text as default.
        for source, name, absent in (
            (given, flag(option), (None, False)),
            (ini, ini_name(option), (None, False, "", [])),
        ):
            value = source.get(option.name)
            if value in absent:
                continue
            values[option.name] = (
                True if "switch" in option.metadata else _parsed(option, value, name)
            )
            break
    return AuditConfig(**values)


def _parsed(option: "Field[Any]", value: object, name: str | None = None) -> Any:
    try:
        return option.metadata["parse"](value)
    except OptionError as error:
        raise OptionError(f"{name or flag(option)}: {error}") from None
