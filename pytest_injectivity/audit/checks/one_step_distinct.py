"""Judges whether the one-step map tells all tokens apart at the start of a prompt (SPEC section 4).

The comparison is exhaustive and needs no prompt set: at layer 0 it compares the rows of the input
embedding, at every other layer the states of each token as the first token of a prompt and, where the
tokenizer puts special tokens first, after these. Every prompt begins in one of these ways, so two tokens
that are equal there are equal at the beginning of every prompt.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from pytest_injectivity.audit.judging.arguments import tolerances
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.tables import (
    Counted,
    Place,
    count_collisions,
    left_out_lines,
    pair_line,
    pair_lines,
    table_reason,
    undecided,
)
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.continuations import Continuations
    from pytest_injectivity.prompts.settings import SpecialTokens

_QUANTITY = "colliding pairs of tokens"
# The places of the tables: the name in figures, and the words in lines.
_EMBEDDING = ("embedding", "as embedding rows")
_FIRST = ("first_position", "put first")
_AFTER = ("after_special", "after the tokenizer's special tokens")


def check_one_step_distinct(
    audit: "Audited", layer: LayerSpec | None = None, eps: PerLayer[float | str] = 0.0
) -> Verdict:
    """No two tokens collide where no prompt is needed: exhaustive over the vocabulary.

    Compared are at layer 0 the rows of the input embedding, at every other layer the states of
    all tokens as a prompt's first, and after the special tokens that the tokenizer puts before a
    text. Pairs are collisions, unresolved or near as in `check_no_collisions`.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: layer 0 and those of the config.
        eps: absolute, or ``"1e-5 rel"`` of the mean norm of the states compared; judged as
            asked, whatever the resolution of their position is (SPEC section 2).

    Raises:
        LayerError: the model has no such layer.
        OptionError: eps is not accepted.

    Example:
        >>> audit.check_one_step_distinct(0).passed
        True
    """
    if layer is None and not isinstance(eps, Mapping):
        layer = f"0,{audit.measurements.target.config.layers}"
    return audit.verdict(
        "one_step_distinct",
        judge_one_step(audit.measurements, by_layer(audit, "eps", tolerances(eps), layer)),
    )


def judge_one_step(measured: "Measurements", tolerances: Mapping[Layer, Tolerance]) -> list[Reason]:
    """The reasons the layers contribute to ``one_step_distinct``, in the order given."""
    tables = _tables(measured, list(tolerances))
    return [
        _judged(measured, layer, tolerance, tables[layer])
        for layer, tolerance in tolerances.items()
    ]


_Tables = dict[str, tuple[Place, "Continuations"]]


def _tables(measured: "Measurements", layers: Sequence[Layer]) -> dict[Layer, _Tables]:
    """Compute the tables of each layer, by the name of their place."""
    tables: dict[Layer, _Tables] = {layer: {} for layer in layers}
    deeper = [layer for layer in layers if layer != 0]
    kinds: list[tuple[str, str, tuple[int, ...] | None, list[Layer]]] = []
    if 0 in layers:
        kinds += [(*_EMBEDDING, None, [0])]
    if deeper:
        kinds += [(*_FIRST, (), deeper)]
    if deeper and (special := _special_tokens(measured)):
        kinds += [(*_AFTER, special, deeper)]
    if deeper:
        measured.target.foretelling.before(
            lambda costs: costs.tables(deeper, places=len(kinds), name="one-step tables")
        )
    with measured.target.watcher.progress("one-step tables", len(kinds)) as advance:
        for done, (kind, words, ids, own) in enumerate(kinds, 1):
            for layer, table in measured.one_step.of(ids, own).items():
                # Rows of a matrix are not evaluated: they have no resolution.
                at = 0.0 if ids is None else measured.resolution(layer).at(len(ids))
                place = Place(measured.one_step, ids, words, at, table.mean_norm)
                tables[layer][kind] = place, table
            advance(done)
    return tables


def _special_tokens(measured: "Measurements") -> tuple[int, ...]:
    """The special tokens before every text; none where they fill the context."""
    from pytest_injectivity.prompts.framing import text_frame

    if measured.target.tokenizer is None:
        return ()
    setting = cast("SpecialTokens", measured.target.config.special_tokens)
    special, context = (
        text_frame(measured.target.tokenizer, setting).prefix,
        measured.target.facts.context,
    )
    return special if context is None or len(special) < context else ()


def _judged(
    measured: "Measurements", layer: Layer, tolerance: Tolerance, tables: _Tables
) -> Reason:
    left_out = left_out_lines(measured, measured.one_step)
    for place, table in tables.values():
        if table.not_finite:
            total = table.not_finite + table.compared
            headline = f"{table.not_finite} of {total} tokens {place.words} are not finite"
            return undecided(layer, _QUANTITY, headline, left_out)
        if not math.isfinite(place.resolution):
            return undecided(layer, _QUANTITY, "the resolution is not finite", left_out)
    if not any(table.pairs for _, table in tables.values()):
        return undecided(layer, _QUANTITY, "nothing was compared", left_out)
    counted = {
        kind: count_collisions(measured, layer, tolerance, place, table)
        for kind, (place, table) in tables.items()
    }
    counts = any(one.found.total for one in counted.values())
    lines = pair_lines(measured, list(counted.values())) if counts else []
    for one in counted.values():
        lines += _lines(measured, one)
    figures = {
        name: value
        for kind, one in counted.items()
        for name, value in (
            (f"{kind}_margin", one.table.minimum[0]),
            (f"{kind}_closest_distinct", one.table.closest),
            (f"{kind}_resolution", one.place.resolution),
        )
    }
    return table_reason(
        layer, _QUANTITY, list(counted.values()), [*lines, *left_out], figures=figures
    )


def _lines(measured: "Measurements", one: Counted) -> list[str]:
    """Lines on what was compared at one place, and on the one-step margin beside the resolution."""
    table, place = one.table, one.place
    compared = (
        f"{place.words}: one-step margin {show(table.minimum[0])}, resolution {show(place.resolution)},"
        f" {table.pairs} pairs of {table.compared} tokens"
    )
    lines = [compared]
    if table.equal:
        lines.append(
            f"{place.words}: tokens equal to another: {sum(map(len, table.equal))}; classes of"
            f" them: {len(table.equal)}, the largest of {max(map(len, table.equal))}"
        )
    if apart := one.closest_distinct:
        lines.append(pair_line(measured, apart))
    if 0 < one.found.eps < place.resolution:
        lines.append(
            f"{place.words}: eps {show(one.found.eps)} is below the resolution: pairs near"
            f" {show(place.resolution)} decide"
        )
    return lines
