"""Every option of an audit, once: a field of `Options` is a flag, an ini value and an argument.

The field ``max_prompts`` is the flag ``--injx-max-prompts``, the ini value ``injx_max_prompts`` and
the argument ``AuditConfig(max_prompts=...)``. One parser reads all three: it takes a text or a value
of the field's type, and raises `OptionError` with the value and what is accepted. A boolean field is
two flags, one that switches it on and one that switches off what an ini switched on.

The key of the prompt hashes is the exception. Every user of a machine can read the command lines of
its processes, so no flag takes the key: a flag names a file that holds it, or the environment
variable ``INJX_HASH_KEY`` does.

Standard library only: pytest reads this file on every start. `AuditConfig`, which holds the values, is
imported where an audit or an option needs it.
"""

from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pytest_injectivity.config import parsers as values

if TYPE_CHECKING:
    from pytest_injectivity.config.decision_rules import DecisionRule
    from pytest_injectivity.config.release_spec import ReleaseSpec
    from pytest_injectivity.config.report_target import ReportTarget
    from pytest_injectivity.quantization.grid import Grid

PREFIX = "injx"
KEY_VARIABLE = "INJX_HASH_KEY"
SHIPPED_MODEL = "builtin:gpt2-stdlib"
STDLIB_PROMPTS = 1000
"""How many of ``builtin:stdlib`` are drawn where no number is given."""


def _option(
    default: object,
    parse: Callable[[object], Any],
    metavar: str,
    explanation: str,
    *,
    repeatable: bool = False,
    used_by: str = "",
) -> Any:
    """Make a field; ``used_by`` names what uses the option, where not everything measured does."""
    metadata = {
        "parse": parse,
        "metavar": metavar,
        "help": explanation,
        "repeatable": repeatable,
        "used_by": used_by,
    }
    return field(default=default, metadata=metadata)


def _switch(explanation: str) -> Any:
    return field(default=False, metadata={"help": explanation, "switch": True})


# The functions that `dataclass` would compile are compiled for `AuditConfig`, the only class that is
# made of these fields: they take as long as the rest of this package at a start of pytest.
@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Options:
    """The options as fields: types, defaults, parsers and help. `AuditConfig` inherits them."""

    model: str = _option(
        SHIPPED_MODEL,
        values.text,
        "MODEL",
        "a checkpoint's folder, a .gguf file, a hub id, or a built-in model (may be given again: every"
        " test of the audit runs for each)",
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
        "round the output of every block as the model runs, so that the error propagates: bits (or e4m3"
        " or e5m2, floats of 8 bits), and after them asymmetric, per-token or per-channel, clip=99.9,"
        " calibrated=PROMPTS, as in"
        ' "8" or "4 asymmetric per-token"; scales of a layer or channel come from 64 prompts of the'
        " set unless calibrated= says otherwise",
        used_by="every check of the model on prompts",
    )
    reference: str | None = _option(
        None,
        values.text,
        "MODEL",
        "the full-precision parent that the model is held against: a checkpoint as --injx-model"
        " takes it, loaded as it is stored",
        used_by="checks against a parent, such as assert_state_drift_below",
    )
    prompts: str = _option(
        "builtin:stdlib",
        values.text,
        "PROMPTS",
        "a .txt, .jsonl, .ndjson, .json, .csv, .tsv (all also .gz) or .parquet file, a folder of texts,"
        " or builtin:stdlib, builtin:random, builtin:challenge, builtin:challenge(SOURCE),"
        " builtin:challenge(probes)",
    )
    prompt_field: str | None = _option(
        None,
        values.text,
        "NAME",
        "the field that holds the prompt, with dots into nested ones: body.messages (default: text,"
        " prompt, a list of messages, instruction with input, or the only text that is no id)",
    )
    conversations: str = _option(
        "prompt",
        values.choice("prompt", "whole"),
        "prompt|whole",
        "what the model's chat template writes of a list of messages: all before the model's last"
        " answer, with the generation prompt (prompt), or all of it, without (whole)",
        used_by="prompts that are lists of messages",
    )
    max_prompts: int | None = _option(
        None,
        values.integer(2),
        "N",
        f"a sample of at most N prompts, drawn by hash (default: all; {STDLIB_PROMPTS} of"
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
        used_by="co-Lipschitz constants, of the table of layers or a check",
    )
    layers: str = _option(
        "all",
        values.text,
        "LAYERS",
        'layers audited: "all", "norm", 4, -1, "4:", "2,4,norm"',
        used_by="injx_layer, and checks that name no layer",
    )
    states: str | None = _option(
        None,
        values.text,
        "PATH",
        "states captured elsewhere: a file of save_states, or what a serving engine wrote, a file or a"
        " folder (vLLM, speculators, SGLang, .npz, .parquet), with states.json beside it",
        used_by="checks of states captured elsewhere, such as assert_served_as_audited",
    )
    dtype: str = _option(
        "auto",
        values.choice("auto", "float32", "bfloat16", "float16", "float64"),
        "DTYPE",
        "what the model computes in: auto (the checkpoint's), float32, bfloat16, float16, float64",
    )
    device: str = _option(
        "auto",
        values.pattern(
            r"auto|cpu|mps|cuda(:\d+)?|balanced", "auto, cpu, cuda, cuda:N, mps or balanced"
        ),
        "DEVICE",
        "where it computes: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps, or balanced: its"
        " blocks shared among all CUDA devices (extra stream)",
    )
    load: str = _option(
        "auto",
        values.choice("auto", "whole", "stream"),
        "auto|whole|stream",
        "how weights are held: all in memory (whole), each block read from disk when it runs (stream,"
        " extra stream), or whole where they fit (auto)",
    )
    batch_tokens: int = _option(
        4096, values.integer(1), "N", "tokens of one forward pass, padding included"
    )
    workers: int | str | None = _option(
        None,
        values.workers,
        "N|ADDRESS",
        "processes that capture states, recover prompts and attack releases side by side, of which each"
        " loads the model: so many on this machine, or one for each GPU or machine of a cluster of Ray,"
        " ray://HOST:PORT (extra ray); not with pytest-xdist's -n, and without effect on any number",
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
    report: tuple["ReportTarget", ...] = _option(
        (),
        values.reports,
        "TYPE:PATH",
        "write a report, of one of these types: "
        + ", ".join(f"{kind} ({what})" for kind, what in values.REPORT_KINDS.items())
        + "; may be given again",
        repeatable=True,
    )
    decision: tuple["DecisionRule", ...] = _option(
        (),
        values.decision,
        "RULES",
        'what --injx-report=decision:PATH decides by, such as "recovery >= 0.99; size <= 0.4; verdicts'
        ' pass" (default: verdicts pass)',
    )
    evaluation: str | None = _option(
        None,
        values.text,
        "FILE",
        "a results file of lm-evaluation-harness on the model, or its folder, for the rules of"
        " --injx-decision",
    )
    reference_evaluation: str | None = _option(
        None, values.text, "FILE", "likewise on its reference: the same tasks, taken the same way"
    )
    baseline: str | None = _option(
        None,
        values.text,
        "DIR",
        "a folder of baselines, kept in git, that assert_matches_baseline compares with; or one file of"
        " it, whose name ends in .json",
        used_by="assert_matches_baseline",
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
        used_by="injx_release, and checks of what is released",
    )
    show_prompts: bool = _switch("show the text of prompts in failures and reports")
    require: bool = _switch("fail the run when nothing was compared")
    plan: bool = _switch(
        "run no test: print what the collected ones would measure, with bytes, token-forwards and time"
    )
    tflops: float | None = _option(
        None,
        values.positive,
        "N",
        "plan from the checkpoint's configuration alone, for a machine whose matrix products reach N"
        " TFLOP/s in all: no weights are needed",
        used_by="--injx-plan",
    )


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
    """The fields of `Options` that are flags, in the order of ``--help``."""
    return (option for option in fields(Options) if "argument_only" not in option.metadata)
