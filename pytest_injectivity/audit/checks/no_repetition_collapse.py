"""Judges whether repetitions of a token are told apart, each number from the next (SPEC section 10).

A step from ``n`` to ``n + 1`` repetitions fails where its states are equal or unresolved, and where true
float64 does not tell them apart: sums of ``n`` and of ``n + 1`` equal values round differently, and what
only rounding tells apart is nothing that the model knows. The first such step of each token is diagnosed
at each layer: does the architecture cause it, as where rotary
positions meet a text of one token alone, or do this checkpoint's values?
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import count
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import resolution_line
from pytest_injectivity.audit.judging.diagnosis import Diagnosed
from pytest_injectivity.audit.judging.tables import undecided
from pytest_injectivity.audit.target.beginnings import special_beginning
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.states.diagnosis import Pair
    from pytest_injectivity.theory.repetition import Collapse, Ladder, Repetition

_QUANTITY = "steps not told apart"
_ALIKE = ("collision", "unresolved")
_DRAWN = 3
_PERCENT = 100


def check_no_repetition_collapse(
    audit: "Audited",
    n: int,
    layer: LayerSpec | None = None,
    *,
    tokens: Sequence[int] | None = None,
    beginning: Sequence[int] | None = None,
    end: Sequence[int] = (),
) -> Verdict:
    """Up to ``n``, the states of so many repetitions of a token and of one more are told apart.

    They are not where they are collisions or unresolved, as in `check_no_collisions`, or equal in true
    float64, so that rounding alone tells them apart. Without a beginning, rotary and ALiBi positions
    tell no two numbers of repetitions apart, in any model.

    Args:
        audit: the audit whose model is judged.
        n: the last step: ``n + 1`` repetitions fit the context.
        layer: the layers judged.
        tokens: ids of the tokens repeated, each by itself; None: three of the vocabulary, drawn by the
            seed.
        beginning: ids before the repetitions; None: the special tokens that the tokenizer puts before
            every text.
        end: ids after the repetitions.

    Raises:
        LayerError: the model has no such layer.
        OptionError: n is no such number, or no tokens are given.
        PromptError: an id is not in the vocabulary.

    Example:
        >>> audit.check_no_repetition_collapse(4, -1, tokens=[7]).passed
        True
    """
    last = count("n", n)
    asked = list(by_layer(audit, "n", last, layer))
    measured = audit.measurements
    before = (
        special_beginning(measured.target) if beginning is None else _ids("beginning", beginning)
    )
    repeated = _repetitions(measured, tokens, before, _ids("end", end))
    found = _found(measured, repeated, last, asked)
    diagnosed = _diagnosed(measured, found)
    reasons = [_judged(measured, layer, found[layer], diagnosed) for layer in asked]
    around = f"behind {number_of(len(before), 'token')}, {number_of(len(end), 'token')} after them"
    return audit.verdict("no_repetition_collapse", reasons, [f"repetitions {around}"])


@dataclass(frozen=True)
class _Repeated:
    """What was found of a repeated token at a layer.

    Attributes:
        repetition: of the token.
        ladder: its steps as deployed.
        exact: of each step, whether true float64 does not tell it apart; empty where there is none.
    """

    repetition: "Repetition"
    ladder: "Ladder"
    exact: Sequence[bool]

    @property
    def alike(self) -> list[bool]:
        """Of each step, whether it is not told apart."""
        deployed = [kind in _ALIKE for kind in self.ladder.kinds]
        return [one or other for one, other in zip_longest(deployed, self.exact, fillvalue=False)]

    @property
    def steps_alike(self) -> list[int]:
        """The steps that are not told apart."""
        return [n for n, one in enumerate(self.alike, 1) if one]

    @property
    def first(self) -> int | None:
        """The first step that is not told apart."""
        return next(iter(self.steps_alike), None)


def _found(
    measured: "Measurements", repeated: "Sequence[Repetition]", n: int, layers: Sequence[Layer]
) -> dict[Layer, list[_Repeated]]:
    ladders = measured.repetitions.of(repeated, n, layers)
    exact = measured.repetitions.exact(repeated, n, layers)
    return {layer: list(map(_Repeated, repeated, ladders[layer], exact[layer])) for layer in layers}


def _repetitions(
    measured: "Measurements",
    tokens: Sequence[int] | None,
    beginning: tuple[int, ...],
    end: tuple[int, ...],
) -> "list[Repetition]":
    import numpy as np

    from pytest_injectivity.theory.repetition import Repetition

    if tokens is None:
        known = measured.token_classes.tokens.tolist()
        drawn = np.random.default_rng(measured.target.config.seed).permutation(known)
        tokens = drawn[:_DRAWN].tolist()
    chosen = _ids("tokens", tokens)
    if not chosen:
        raise OptionError("tokens names no token: give at least one id, or None")
    return [Repetition(token, beginning, end) for token in dict.fromkeys(chosen)]


def _ids(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Reads token ids.

    Raises:
        OptionError: they are no sequence of integers of at least 0.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise OptionError(f"{name}={given!r}: give a list of token ids, such as [7, 12]")
    return tuple(count(f"a token of {name}", one, least=0) for one in given)


_Diagnoses = dict[tuple[Layer, "Repetition"], tuple["Pair", Diagnosed]]


def _diagnosed(measured: "Measurements", found: Mapping[Layer, Sequence[_Repeated]]) -> _Diagnoses:
    """The pair and the diagnosis of each token's first step that is not told apart, by layer."""
    first = {
        (layer, one.repetition): one.first
        for layer, some in found.items()
        for one in some
        if one.first is not None
    }
    steps = list(dict.fromkeys((repetition, n) for (_, repetition), n in first.items()))
    pairs = {step: (2 * at, 2 * at + 1) for at, step in enumerate(steps)}
    prompts = [repetition.prompt(more) for repetition, n in steps for more in (n, n + 1)]
    known = measured.repetitions.diagnoses(prompts, list(pairs.values()), list(found))
    why_not = "" if known or not steps else measured.no_float64()
    analytic = measured.target.assumptions.analytic_architecture
    diagnosed: _Diagnoses = {}
    for (layer, repetition), n in first.items():
        pair = pairs[repetition, n]
        of = {pair: known[layer, pair]} if known else {}
        diagnosed[layer, repetition] = pair, Diagnosed(of, analytic=analytic, why_not=why_not)
    return diagnosed


def _judged(
    measured: "Measurements", layer: Layer, found: Sequence[_Repeated], diagnosed: _Diagnoses
) -> Reason:
    steps, alike = (sum(map(size, (one.alike for one in found))) for size in (len, sum))
    lines = []
    if lost := sum(len(one.ladder.not_finite) for one in found):
        headline = f"{number_of(lost, 'step')} with a state that is not finite"
        known = list(filter(None, [measured.target.facts.not_finite_line]))
        if not alike:
            return undecided(layer, _QUANTITY, headline, known)
        lines += [headline, *known]
    resolution = measured.resolution(layer)
    # Two repetitions and more end at a later position than the first.
    positions = {min(len(one.repetition.prompt(1)) - 1, 1) for one in found} | {1}
    if not all(math.isfinite(resolution.at(position)) for position in positions):
        return undecided(layer, _QUANTITY, "the resolution is not finite", ())
    counted = Counter(str(kind) for one in found for kind in one.ladder.kinds)
    deployed = sum(counted[kind] for kind in _ALIKE)
    figures = {
        "steps": steps,
        "equal": counted["collision"],
        "unresolved": counted["unresolved"],
        "by_rounding": alike - deployed,
        "tokens": len(found),
    }
    # Nor is told apart what is not finite.
    steps_alike = ({*one.steps_alike, *one.ladder.not_finite} for one in found)
    by_step = Counter(n for some in steps_alike for n in some)
    figures |= {f"alike_at_{n}": count for n, count in sorted(by_step.items())}
    headline = f"{number_of(steps, 'step')} told apart"
    if not all(one.exact for one in found):
        lines.append(f"not compared in true float64: {measured.no_float64()}")
    if alike:
        figures["first"] = min(one.first for one in found if one.first is not None)
        own = [of for (at, _), of in diagnosed.items() if at == layer]
        kinds = ", ".join(dict.fromkeys(of.kind(pair) for pair, of in own))
        headline = (
            f"{kinds} from n = {figures['first']} on, {alike} of {number_of(steps, 'step')}"
            " not told apart"
        )
        for one in found:
            lines += _lines(measured, layer, one, diagnosed)
    return Reason(
        where=layer_id(layer),
        status=judge(alike, "<=", 0),
        quantity=_QUANTITY,
        value=alike,
        bound=0,
        relation="<=",
        headline=headline,
        evidence=(*lines, resolution_line(resolution)),
        figures=figures,
    )


def _lines(
    measured: "Measurements", layer: Layer, one: _Repeated, diagnosed: _Diagnoses
) -> list[str]:
    """Lines on a token that is not told apart from some number of repetitions on; none for another."""
    if one.first is None:
        return []
    from pytest_injectivity.theory.repetition import Collapse

    ladder, (pair, of) = one.ladder, diagnosed[layer, one.repetition]
    said = [f"equal {_words(ladder.equal)}", f"not resolved {_words(ladder.unresolved)}"]
    if one.exact:
        said.append(f"equal in float64 {_words(Collapse.of(one.exact))}")
    name = measured.target.name_of_token(one.repetition.token)
    return [f"{name}: {'; '.join(said)}", of.line(pair) or f"  {of.summary(1)}"]


def _words(found: "Collapse") -> str:
    """Where states are alike: the first n, the share, and from where on all are."""
    if found.first is None:
        return "at no n"
    if found.lasting == 1:
        return "at every n"
    lasting = "not to the end" if found.lasting is None else f"at all from n = {found.lasting} on"
    return f"first at n = {found.first}, at {_PERCENT * found.share:.0f} % of all, {lasting}"
