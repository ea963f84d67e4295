"""Judges whether no attacker reads more than a share of the tokens from a release (SPEC section 5)."""

from typing import TYPE_CHECKING, Unpack

from pytest_injectivity.audit.judging.arguments import optional_confidence
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.hidden import ReadBound, judge_hidden
from pytest_injectivity.audit.judging.releases import use_lines
from pytest_injectivity.audit.releases.release_size import SizeOptions
from pytest_injectivity.audit.releases.releases import ReleasesLike
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.results.releases import OVER_GUESSED, AttackSummary, ReleaseSummary
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult

_GROUPS = 4
_NOTES = (
    "judged on every attacker; what these do not read another one may: not broken, not private",
)


def check_not_recoverable(
    audit: "Audited",
    release: ReleasesLike,
    max_token_rate: float | None = None,
    *,
    max_excess: float | None = None,
    confidence: float | None = 0.95,
    **size: Unpack[SizeOptions],
) -> Verdict:
    """No attacker reads more than a share of the tokens from what is released.

    The upper end of EVERY attacker's interval must be at most the bound: a rate, or so much over what
    the model guesses without any state, below which no release brings it. Give one of the two. A
    verifier that accepts nothing proves nothing, so the attackers that always answer are judged as
    well.

    Args:
        audit: the audit whose model is judged.
        release: one or more releases, as texts (``"round(bits=4)@4"``, ``"identity@-1 kv"``) or as
            a `CustomRelease`.
        max_token_rate: the largest share of tokens that may be read. A language model guesses
            some without any state; the verdict says how many.
        max_excess: the most that may be read over the share guessed, 0.05 for 5 points. The difference
            is taken prompt by prompt.
        confidence: of the intervals, clustered by prompt; None: point values are judged.
        size: of the measurement, as `exposures` takes it (`SizeOptions`).

    Raises:
        OptionError: a number or a release is not accepted, both bounds or neither were given, too few
            prompts are long enough, or ``max_excess`` is given and guesses are not measured.
        LayerError: the model has no such layer.
        ModelError: the model caches no keys and values.

    Example:
        >>> audit.check_not_recoverable("identity@4", 0.5, prompts=2, tokens=4, free_running=0).status
        <Status.INSUFFICIENT: 'INSUFFICIENT'>
    """
    bound = ReadBound.of(max_token_rate, max_excess)
    confidence = optional_confidence(confidence)
    found = audit.releases.with_the_configs(release, size)
    reasons = [judge_not_recoverable(one, bound, confidence) for one in found]
    return audit.verdict("not_recoverable", reasons, _NOTES)


def judge_not_recoverable(
    exposure: "ReleaseResult", bound: ReadBound, confidence: float | None
) -> Reason:
    """The reason one release contributes to ``not_recoverable``, with all that is known of it."""
    return judge_hidden(exposure, bound, confidence, _lines)


def _lines(summary: ReleaseSummary, bound: ReadBound) -> tuple[str, ...]:
    return (*_attack_lines(summary, bound), *use_lines(summary), *_how_lines(summary))


def _attack_lines(summary: ReleaseSummary, bound: ReadBound) -> list[str]:
    ranked = sorted(summary.attacks, key=lambda one: -bound.judged(one).value)
    strongest = bound.strongest(summary)
    return [
        *(_attack_line(one) for one in ranked),
        f"by position, read by {strongest.name}: {_by_position(strongest)}",
        f"by kind of token: {_by_kind(strongest)}",
        *(f"in the order of {one.name}: {one.ranks}" for one in ranked[:1] if one.ranks),
    ]


def _attack_line(attack: AttackSummary) -> str:
    spans = ", ".join(f"{kind} {read} of {of}" for kind, (read, of) in attack.by_span.items())
    over = f", {attack.excess}{OVER_GUESSED}" if attack.excess else ""
    return (
        f"{attack.name} ({attack.source}): tokens {attack.tokens}{over}; prompts {attack.whole};"
        f" vouched for {_percent(attack.verified)}"
        f"{f'; {attack.texts}' if attack.texts and str(attack.texts) else ''}"
        f"{f'; whole spans: {spans}' if spans else ''}"
    )


def _by_position(attack: AttackSummary) -> str:
    """The token rate of each of a few equally long groups of positions."""
    positions = sorted(attack.by_position, key=int)
    size = -(-len(positions) // _GROUPS) if positions else 1
    groups = [positions[start : start + size] for start in range(0, len(positions), size)]
    shown = []
    for group in groups:
        rates = [attack.by_position[one] for one in group]
        share = sum(rate.right for rate in rates) / sum(rate.of for rate in rates)
        name = group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"
        shown.append(f"{name}: {_percent(share)}")
    return ", ".join(shown)


def _by_kind(attack: AttackSummary) -> str:
    return "; ".join(f"{kind} {rate}" for kind, rate in attack.by_kind.items())


def _how_lines(summary: ReleaseSummary) -> list[str]:
    noise = f", noise {show(summary.noise, 3)} a coordinate" if summary.noise else ""
    size = (
        f"{number_of(summary.prompts, 'prompt')} of {number_of(summary.tokens, 'token')},"
        " clustered by prompt; a typical"
        f" coordinate is {show(summary.typical, 3)}{noise}"
    )
    return [*_robust_lines(summary), _search_line(summary), *_missing_lines(summary), size]


def _missing_lines(summary: ReleaseSummary) -> list[str]:
    """What was not measured of the answers' texts, and why."""
    texts = summary.strongest.texts
    return [f"BLEU-4 {texts.no_bleu}"] if texts and texts.no_bleu else []


def _search_line(summary: ReleaseSummary) -> str:
    """Whether all candidates were compared; else what that may have missed."""
    pruned = [one for one in summary.attacks if one.compared is not None]
    if not pruned:
        return "exact: attackers that compare candidates compare the whole vocabulary"
    told = [one for one in pruned if one.teacher_forced] or pruned
    compared = sum(one.compared or 0.0 for one in told) / len(told)
    of = max(one.tokens.of for one in told)
    left = max(one.left_out for one in told)
    undecided = max(one.tokens.undecided for one in pruned)
    return (
        f"pruned: {compared:.0f} likely candidates of a position are compared, not the whole vocabulary;"
        f" the true token is not among them at {left} of {of} positions ({_percent(left / of)}), and"
        f" upper bounds count as read what that leaves undecided (at most {undecided}); budget= compares"
        " more"
    )


def _robust_lines(summary: ReleaseSummary) -> list[str]:
    known = {name: value for name, value in (summary.robustness or {}).items() if value is not None}
    shown = ", ".join(f"{name} {show(value, 3)}" for name, value in known.items())
    if shown:
        return [f"perturbation that changes the nearest token: {shown}"]
    if any(one.compared is not None for one in summary.attacks):
        why = "it takes the whole vocabulary at each position (budget=)"
        return [f"perturbation that changes the nearest token: not measured, because {why}"]
    return []


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
