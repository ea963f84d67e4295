"""Judges whether states sent across a cut are read, at each depth and wire dtype (SPEC section 5)."""

from collections.abc import Sequence
from typing import Unpack

from pytest_injectivity.audit.judging.arguments import REQUIRED, optional_confidence
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.hidden import ReadBound, judge_hidden
from pytest_injectivity.audit.releases.cuts import WIRES, cut_releases
from pytest_injectivity.audit.releases.release_size import SizeOptions
from pytest_injectivity.core.layers import LayerSpec
from pytest_injectivity.core.text import number_of
from pytest_injectivity.results.releases import FIXED_TOLERANCE, ReleaseSummary
from pytest_injectivity.results.verdict import Verdict

_NOTES = (
    (
        "a fixed tolerance reads less of states as they are the deeper the cut, because states grow and"
        " their rounding with them; that is about the tolerance, not about what is sent"
    ),
    "judged on every attacker; what these do not read another one may",
)


def check_cut_not_read(
    audit: "Audited",
    layers: LayerSpec,
    max_token_rate: float = REQUIRED,
    *,
    wires: Sequence[str] = WIRES,
    confidence: float | None = 0.95,
    **size: Unpack[SizeOptions],
) -> Verdict:
    """No attacker reads more than a share of the tokens from states sent across a cut.

    Each cut is judged at each wire dtype, on every attacker's upper bound. The published algorithm at
    a fixed tolerance, whose rates are quoted, is shown beside the strongest attacker and what the
    model guesses without any state.

    Args:
        audit: the audit whose model is judged.
        layers: the cuts: an int, a list, a slice as text, ``"all"`` or ``"norm"``.
        max_token_rate: the largest share of tokens that may be read.
        wires: steps of the grammar of releases, what states are sent as.
        confidence: of the intervals, clustered by prompt; None: point values are judged.
        size: of the measurement, as `exposures` takes it (`SizeOptions`).

    Raises:
        OptionError: a number or a wire is not accepted, or too few prompts are long enough.
        LayerError: the model has no such layer.

    Example:
        >>> verdict = audit.check_cut_not_read(4, 0.5, prompts=2, tokens=2, practice=0, free_running=0)
        >>> len(verdict.reasons)
        4
    """
    bound = ReadBound.of(REQUIRED if max_token_rate is None else max_token_rate, None)
    confidence = optional_confidence(confidence)
    texts = cut_releases(layers, wires, audit.measurements.target.n_layers)
    found = audit.releases.exposures(texts, **size)
    reasons = [judge_hidden(one, bound, confidence, _lines) for one in found]
    return audit.verdict("cut_not_read", reasons, _NOTES)


def _lines(summary: ReleaseSummary, bound: ReadBound) -> tuple[str, ...]:
    """What is quoted, what is read, and what is guessed."""
    strongest, quoted = bound.strongest(summary), summary.fixed_ball
    guessed = summary.guessed
    return (
        (
            f"at a fixed tolerance of {FIXED_TOLERANCE:g}, as published:"
            f" {quoted.tokens if quoted else 'not run: noise is added'}"
        ),
        f"by the strongest here, {strongest.name}: {strongest.tokens}; prompts {strongest.whole}",
        f"guessed by the model without any state: {guessed or 'not measured'}",
        (
            f"{number_of(summary.prompts, 'prompt')} of {number_of(summary.tokens, 'token')},"
            " clustered by prompt"
        ),
    )
