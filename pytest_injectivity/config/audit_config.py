"""Every option of an audit, once: a field of `AuditConfig` is a flag, an ini value and an argument.

The field ``max_prompts`` is the flag ``--injx-max-prompts``, the ini value ``injx_max_prompts`` and
the argument ``AuditConfig(max_prompts=...)``. One parser reads all three: it takes a text or a value
of the field's type, and raises `OptionError` with the value and what is accepted. A boolean field is
two flags, one that switches it on and one that switches off what an ini switched on.

The key of the prompt hashes is the exception. Every user of a machine can read the command lines of
its processes, so no flag takes the key: a flag names a file that holds it, or the environment
variable ``INJX_HASH_KEY`` does.

Standard library only: pytest reads this file on every start.
"""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_injectivity.config import parsers as values
from pytest_injectivity.config.parsers import ReportTarget
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.config.release_spec import ReleaseSpec
    from pytest_injectivity.quantization.grid import Grid

PREFIX = "injx"
KEY_VARIABLE = "INJX_HASH_KEY"
SHIPPED_MODEL = "builtin:gpt2-stdlib"
_STDLIB_PROMPTS = 1000

T = TypeVar("T")


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


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What to audit and how. Every field but ``hash_key`` is also the flag and ini value of that name.

    >>> AuditConfig(model="gpt2", max_prompts=500, layers="4:").command_line()
    '--injx-model=gpt2 --injx-max-prompts=500 --injx-layers=4:'

    Raises:
        OptionError: a value is not accepted; the message names the option, the value and what is.
    """

    model: str = _option(
        SHIPPED_MODEL,
        values.text,
        "MODEL",
        "a checkpoint's folder, a .gguf file, a hub id, or a built-in model",
    )
    quantization: str | None = _option(
        None,
        values.quantization,
        "KIND",
        "quantize a full-precision checkpoint while it is loaded: bnb-nf4, bnb-fp4, bnb-int8 (extra"
        " bnb), torchao-int8, torchao-int4, torchao-float8 (extra torchao)",
    )
    activation_bits: "Grid | None" = _option(  # noqa: RUF009 - `_option` returns a field
        None,
        values.grid,
        "GRID",
        "round the output of every block as the model runs, so that the error propagates: bits, and"
        " after them asymmetric, per-token or per-channel, clip=99.9, calibrated=PROMPTS, as in"
        ' "8" or "4 asymmetric per-token"; scales of a layer or channel come from 64 prompts of the'
        " set unless calibrated= says otherwise",
    )
    reference: str | None = _option(
        None,
        values.text,
        "MODEL",
        "the full-precision parent that the model is held against: a checkpoint as --injx-model"
        " takes it, loaded as it is stored",
    )
    prompts: str = _option(
        "builtin:stdlib",
        values.text,
        "PROMPTS",
        "a .txt, .jsonl, .json, .csv or .parquet file, a folder of texts, or builtin:stdlib,"
        " builtin:random, builtin:challenge, builtin:challenge(SOURCE)",
    )
    prompt_field: str | None = _option(
        None,
        values.text,
        "NAME",
        "the field that holds the prompt (default: text, prompt, or the only one)",
    )
    max_prompts: int | None = _option(
        None,
        values.integer(2),
        "N",
        f"a sample of at most N prompts, drawn by hash (default: all; {_STDLIB_PROMPTS} of"
        " builtin:stdlib)",
    )
    length: int | None = _option(
        None,
        values.integer(1),
        "T",
        "cut texts into equal windows of T tokens, special tokens included",
    )
    overlong: str | None = _option(
        None,
        values.choice("refuse", "drop"),
        "refuse|drop",
        "what becomes of prompts longer than the context (default: refuse; of built-in sets, whose"
        " texts nobody chose: drop)",
    )
    special_tokens: str = _option(
        "auto",
        values.choice("auto", "yes", "no"),
        "auto|yes|no",
        "whether BOS is added: as the tokenizer does, always, never",
    )
    prompt_metric: str = _option(
        "levenshtein",
        values.choice("levenshtein", "hamming", "levenshtein/length", "hamming/length"),
        "METRIC",
        "prompt metric of co-Lipschitz constants: levenshtein, hamming, or either per length"
        " (levenshtein/length, hamming/length)",
    )
    layers: str = _option(
        "all", values.text, "LAYERS", 'layers audited: "all", "norm", 4, -1, "4:", "2,4,norm"'
    )
    states: str | None = _option(
        None,
        values.text,
        "FILE",
        "a .safetensors file of states captured elsewhere, to be read with this model (its format:"
        " pytest_injectivity.states.external)",
    )
    dtype: str = _option(
        "auto",
        values.choice("auto", "float32", "bfloat16", "float16", "float64"),
        "DTYPE",
        "what the model computes in: auto (the checkpoint's), float32, bfloat16, float16, float64",
    )
    device: str = _option(
        "auto",
        values.pattern(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, cuda, cuda:N or mps"),
        "DEVICE",
        "where it computes: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps",
    )
    batch_tokens: int = _option(
        4096, values.integer(1), "N", "tokens of one forward pass, padding included"
    )
    memory_budget: int | None = _option(
        None,
        values.size,
        "SIZE",
        "memory for states and their geometry, such as 8GB: beyond it states stay on disk, mapped,"
        " and layers are let go in turn (default: half of what is free)",
    )
    cache_dir: str | None = _option(
        None,
        values.text,
        "DIR",
        "keeps hidden states and finished numbers between runs (default: the user's cache folder);"
        " as sensitive as the prompts: only you can read it, and pytest-injectivity purge"
        " empties it",
    )
    cache_size: int = _option(
        10 * 10**9,
        values.size,
        "SIZE",
        "what it may hold, such as 500MB or 2GiB: what was not used for longest goes (default: 10GB)",
    )
    no_cache: bool = _switch(
        "keep states and numbers for this run only, in a temporary folder that is removed at its end"
    )
    seed: int = _option(0, values.integer(0), "N", "seeds every sample and every random choice")
    hash_key: str | None = field(
        default=None, metadata={"parse": values.text, "argument_only": True}
    )
    hash_key_file: str | None = _option(
        None,
        values.text,
        "FILE",
        "a file whose content keys the hashes that name prompts in reports; without it the environment"
        f" variable {KEY_VARIABLE} does (default: a key drawn per run)",
    )
    report: tuple[ReportTarget, ...] = _option(
        (),
        values.reports,
        "TYPE:PATH",
        "write a report, of one of these types: "
        + ", ".join(f"{kind} ({what})" for kind, what in values.REPORT_KINDS.items())
        + "; may be given again",
        repeatable=True,
    )
    baseline: str | None = _option(
        None,
        values.text,
        "DIR",
        "a folder of baselines, kept in git, that assert_matches_baseline compares with; or one file of"
        " it, whose name ends in .json",
    )
    update_baseline: bool = _switch(
        "record what assert_matches_baseline measures instead of comparing it: written at the end of a"
        " green run, not under pytest-xdist"
    )
    release: tuple["ReleaseSpec", ...] = _option(
        (),
        values.releases,
        "RELEASE",
        "what leaves the trust boundary, for the checks of what is shared: STEP|STEP@PLACE, such as"
        ' "gaussian(sigma=0.1 rel)@4", "round(bits=4)|permute@-1", "identity@2 kv", "cast(fp8)@8 last"'
        " (may be given again)",
        repeatable=True,
    )
    show_prompts: bool = _switch("show the text of prompts in failures and reports")
    require: bool = _switch("fail the run when nothing was compared")
    plan: bool = _switch(
        "run no test: print what the collected ones would measure, with bytes, token-forwards and time"
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if "switch" in option.metadata:
                if not isinstance(value, bool):
                    raise OptionError(
                        f"{flag(option)} {value!r} is not accepted: give true or false"
                    )
            elif value is not option.default:  # False equals 0, and is no seed
                object.__setattr__(self, option.name, _parsed(option, value))
        if self.update_baseline and self.baseline is None:
            raise OptionError(
                "--injx-update-baseline: no baseline is named: give --injx-baseline=DIR as well"
            )

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
        """The key of the prompt hashes: ``hash_key``, the file's, the environment's, or a random one.

        Raises:
            OptionError: the file cannot be read, or the file or variable is empty.
        """
        if self.hash_key is not None:
            return self.hash_key.encode()
        if self.hash_key_file is not None:
            return _key_of(Path(self.hash_key_file))
        given = os.environ.get(KEY_VARIABLE)
        if given is None:
            return os.urandom(16)
        if not given.strip():
            raise OptionError(f"{KEY_VARIABLE} is empty: set it to a text, or unset it")
        return given.strip().encode()

    def command_line(self) -> str:
        """The flags that differ from the defaults, quoted for a shell.

        Flags that change no number are left out: the key's file, the reports, where numbers are kept
        and in how much memory.
        """
        unsaid = {"hash_key_file", "report", "require", "show_prompts", "memory_budget"}
        unsaid |= {"cache_dir", "cache_size", "no_cache", "update_baseline", "plan"}
        given = [option for option in options() if option.name not in unsaid]
        return shlex.join(
            f"{flag(option)}={value}"
            for option in given
            if getattr(self, option.name) != option.default
            for value in _each(getattr(self, option.name))
        )


def _key_of(file: Path) -> bytes:
    """The content of a key's file, without the space around it."""
    try:
        key = file.expanduser().read_bytes().strip()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"--injx-hash-key-file {file} cannot be read ({reason}): name a file that holds the key"
        ) from None
    if not key:
        raise OptionError(f"--injx-hash-key-file {file} is empty: write the key into it")
    return key


def _each(value: object) -> tuple[object, ...]:
    """The values that a flag is written once for: several where the flag is repeatable."""
    return value if isinstance(value, tuple) else (value,)


def flag(option: "Field[Any]") -> str:
    """``--injx-max-prompts`` for the field ``max_prompts``."""
    return f"--{PREFIX}-{option.name.replace('_', '-')}"


def off_flag(option: "Field[Any]") -> str:
    """The flag that switches a boolean field off: ``--injx-no-require``, and ``--injx-cache``."""
    name = flag(option).removeprefix(f"--{PREFIX}-")
    turned = name.removeprefix("no-") if name.startswith("no-") else f"no-{name}"
    return f"--{PREFIX}-{turned}"


def ini_name(option: "Field[Any]") -> str:
    """``injx_max_prompts`` for the field ``max_prompts``."""
    return f"{PREFIX}_{option.name}"


def options() -> Iterator["Field[Any]"]:
    """The fields of `AuditConfig` that are flags, in the order of ``--help``."""
    return (option for option in fields(AuditConfig) if "argument_only" not in option.metadata)


def config_from(given: Mapping[str, object], ini: Mapping[str, object]) -> AuditConfig:
    """The config of a run: a flag wins over its ini value, which wins over the default.

    Args:
        given: values of flags by field name; None was not given.
        ini: values of ini options by field name; None, the empty text and the empty list were not given.

    Raises:
        OptionError: a value is not accepted; the message says by which name it was given.
    """
    values: dict[str, Any] = {}
    for option in options():
        # An empty flag is a mistake, such as an unset variable; an ini has the empty text as default.
        for source, name, absent in (
            (given, flag(option), (None,)),
            (ini, ini_name(option), (None, "", [])),
        ):
            value = source.get(option.name)
            if value in absent:
                continue
            values[option.name] = (
                value if "switch" in option.metadata else _parsed(option, value, name)
            )
            break
    return AuditConfig(**values)


def _parsed(option: "Field[Any]", value: object, name: str | None = None) -> Any:
    try:
        return option.metadata["parse"](value)
    except OptionError as error:
        own = option.name if "argument_only" in option.metadata else flag(option)
        raise OptionError(f"{name or own}: {error}") from None
