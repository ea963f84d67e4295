"""Judges whether the one-step map tells all tokens apart at the start of a prompt (SPEC section 4).

The comparison is exhaustive and needs no prompt set: at layer 0 it compares the rows of the input
embedding, at every other layer the states of each token as the first token of a prompt and, where the
tokenizer puts special tokens first, after these. Every prompt begins in one of these ways, so two tokens
that are equal there are equal at the beginning of every prompt.

Tokens with equal embedding rows (twins) are equal at every layer, whatever the blocks compute. They
count once a layer, by their embedding rows; the tables of the layers above compare one token of each
class, so that what they count and their margins are the layer's own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import count, tolerances
from pytest_injectivity.audit.judging.base import Audited, by_layer, with_embedding
from pytest_injectivity.audit.judging.tables import (
    Counted,
    Place,
    count_collisions,
    pair_line,
    pair_lines,
    table_reason,
    undecided,
)
from pytest_injectivity.audit.judging.vocabulary import twin_lines, vocabulary_lines
from pytest_injectivity.audit.target.beginnings import special_beginning
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.continuations import Continuations

_QUANTITY = "colliding pairs of tokens"
# The places of the tables: the name in figures, and the words in lines.
_EMBEDDING = ("embedding", "as embedding rows")
_FIRST = ("first_position", "put first")
_AFTER = ("after_special", "after the tokenizer's special tokens")
_TWINS = "equal at every layer, each class compared once"


def check_one_step_distinct(
    audit: "Audited",
    layer: LayerSpec | None = None,
    eps: PerLayer[float | str] = 0.0,
    *,
    twins: int = 0,
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
        twins: how many pairs of tokens may have equal embedding rows, such as those of tokens that
            training never met; more fail every layer.

    Raises:
        LayerError: the model has no such layer.
        OptionError: eps or twins is not accepted.

    Example:
        >>> audit.check_one_step_distinct(0).passed
        True
    """
    layer = with_embedding(audit, layer, eps)
    accepted = count("twins", twins, least=0)
    asked = by_layer(audit, "eps", tolerances(eps), layer)
    return audit.verdict(
        "one_step_distinct", judge_one_step(audit.measurements, asked, twins=accepted)
    )


def judge_one_step(
    measured: "Measurements", tolerances: Mapping[Layer, Tolerance], *, twins: int
) -> list[Reason]:
    """The reasons the layers contribute to ``one_step_distinct``, in the order given."""
    tables = _tables(measured, list(tolerances))
    counted = measured.token_classes.pairs
    counted = counted if counted > twins else 0
    # Layer 0 lists pairs of embedding rows as its own; without it the first layer names them.
    naming = None if 0 in tolerances else next(iter(tolerances), None)
    return [
        _judged(measured, layer, tolerance, tables[layer], twins=counted, names=layer == naming)
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
    if deeper and (special := special_beginning(measured.target)):
        kinds += [(*_AFTER, special, deeper)]
    if deeper:
        measured.target.foretelling.before(
            lambda costs: costs.tables(
                deeper, places=sum(bool(own[0]) for *_, own in kinds), name="one-step tables"
            )
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


def _judged(
    measured: "Measurements",
    layer: Layer,
    tolerance: Tolerance,
    tables: _Tables,
    *,
    twins: int,
    names: bool,
) -> Reason:
    classes = measured.token_classes
    left_out = vocabulary_lines(classes, _TWINS)
    if names:
        left_out += twin_lines(measured, classes)
    for place, table in tables.values():
        if table.not_finite:
            total = table.not_finite + table.compared
            headline = (
                f"{table.not_finite} of {number_of(total, 'token')} {place.words}"
                f" {verb(table.not_finite, 'is', 'are')} not finite"
            )
            return undecided(layer, _QUANTITY, headline, left_out)
        if not math.isfinite(place.resolution):
            return undecided(layer, _QUANTITY, "the resolution is not finite", left_out)
    if not twins and not any(table.pairs for _, table in tables.values()):
        return undecided(layer, _QUANTITY, "nothing was compared", left_out)
    counted = {
        kind: _apart_from_twins(count_collisions(measured, layer, tolerance, place, table))
        for kind, (place, table) in tables.items()
    }
    counts = any(one.found.total or one.pairs for one in counted.values())
    lines = pair_lines(measured, list(counted.values())) if counts else []
    for one in counted.values():
        lines += _lines(measured, one)
    figures = {
        name: value
        for kind, one in counted.items()
        for name, value in (
            (f"{kind}_margin", _margin(one)),
            (f"{kind}_closest_distinct", one.table.closest),
            (f"{kind}_resolution", one.place.resolution),
        )
        if math.isfinite(value)
    }
    return table_reason(
        layer,
        _QUANTITY,
        list(counted.values()),
        [*lines, *left_out],
        figures={"twins": classes.pairs, **figures},
        twins=twins,
    )


def _apart_from_twins(one: Counted) -> Counted:
    """What is counted at a place, without the equal rows of the embedding, which count by themselves."""
    if one.place.ids is not None:
        return one
    return replace(one, found=one.found._replace(collisions=0))


def _margin(one: Counted) -> float:
    """The one-step margin: over one token of each class of equal embedding rows."""
    return one.table.closest if one.place.ids is None else one.table.minimum[0]


def _lines(measured: "Measurements", one: Counted) -> list[str]:
    """Lines on what was compared at one place, and on the one-step margin beside the resolution."""
    table, place = one.table, one.place
    compared = (
        f"{place.words}: one-step margin {show(_margin(one))}, resolution {show(place.resolution)},"
        f" {number_of(table.pairs, 'pair')} of {number_of(table.compared, 'token')}"
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
