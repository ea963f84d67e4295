"""The summary of a run, which every report begins with: what was audited, as plain data."""

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.text import one_line
from pytest_injectivity.core.versions import version
from pytest_injectivity.results.summary import NextToken, RunSummary

_LONGEST_NOTE = 400
_VERSIONED = ("pytest-injectivity", "torch", "transformers", "numpy")


def run_summary(
    target: Target,
    *,
    reference: str | None = None,
    reference_size: int | None = None,
    next_token: NextToken | None = None,
) -> RunSummary:
    """Summarize what was audited as plain data.

    Args:
        target: the model and the prompt set.
        reference: the name of the reference; None where nothing was compared with it.
        next_token: how near next tokens are to the reference's; None where that was not measured.
        reference_size: bytes of its weights files.
    """
    from pytest_injectivity.quantization.formats.registry import installed

    facts, prompts = target.facts, target.prompts
    # Versions of packages for quantized weights matter only where there are such weights.
    quantizing = {} if facts.quantized is None else installed()
    return RunSummary(
        model=one_line(target.config.model),
        revision=target.checkpoint.revision,
        family=facts.family,
        n_layers=facts.n_layers,
        hidden=facts.hidden_size,
        vocab=facts.vocab_size,
        dtype=facts.dtype,
        device=", ".join(map(str, target.kept.devices)),
        assumptions=target.assumptions.line,
        prompts=one_line(prompts.name),
        n=len(prompts),
        prompt_hash=prompts.hash,
        shortest=int(prompts.lengths.min()),
        longest=prompts.longest,
        special_tokens=prompts.special_tokens,
        dropped={
            "duplicates": prompts.dropped_duplicates,
            "indistinguishable": prompts.dropped_indistinguishable,
            "overlong": prompts.dropped_overlong,
            "empty": prompts.dropped_empty,
        },
        not_restored=prompts.losses.not_restored,
        prompt_notes=tuple(map(_note, (*prompts.notes, *prompts.losses.lines()))),
        prompt_metric=target.config.prompt_metric,
        seed=target.config.seed,
        versions={name: version(name) for name in _VERSIONED} | quantizing,
        quantized=facts.quantized,
        activations=target.rounded,
        numbers=target.journal.origin,
        reference=reference,
        next_token=next_token,
        size=target.checkpoint.weights.bytes,
        reference_size=reference_size,
    )


def _note(sentence: str) -> str:
    return one_line(sentence, _LONGEST_NOTE)
