"""Judges whether the weights of a model were proved to be quantized, block by block."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_most, share_at_least
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_down, show_up
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.models.facts import ModelFacts
    from pytest_injectivity.quantization.info import BlockBits

_BITS = "bits of a quantized weight"
_SHARE = "share of weights quantized"
_BLOCKS = "1:"


def check_quantized(
    audit: "Audited",
    layer: LayerSpec | None = None,
    bits: PerLayer[float] = REQUIRED,
    *,
    share: float = 0.9,
) -> Verdict:
    """The matrices of every block hold few bits, as was proved on what was loaded.

    Judged is what the files and the loaded modules show, never what a configuration claims: codes with
    their scales, or matrices decoded from them. Embeddings, head and norms are not judged; the bits of
    embeddings and head are named.

    Args:
        audit: the audit whose model is judged.
        layer: the blocks judged, by the layers that they write; None: all, or those that ``bits`` names.
        bits: the most bits of a quantized weight, on average over a block; scales are not counted. A
            number, or one by layer, such as ``{1: 8, "2:": 4}``.
        share: the least share of the numbers in a block's matrices that are quantized.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, or a layer is written by no block.
        ModelError: the model cannot be loaded.

    Example:
        >>> verdict = audit.check_quantized(bits=4)
        >>> verdict.first_line
        'FAIL quantized layer01: not quantized: float32 weights (+3 more)'
    """
    least = share_at_least("share", share)
    asked = _BLOCKS if layer is None and not isinstance(bits, Mapping) else layer
    bounds = by_layer(audit, "bits", at_most("bits", bits), asked)
    facts = audit.measurements.target.facts
    proved = () if facts.quantized is None else facts.quantized.blocks
    by_block = {one.block: one for one in proved}
    reasons = [_judged(one, by_block.get(_block(one)), bounds[one], least, facts) for one in bounds]
    return audit.verdict("quantized", reasons, _notes(facts))


def _block(layer: Layer) -> int:
    """The number of the block that writes a layer."""
    if not isinstance(layer, int) or layer == 0:
        raise OptionError(
            f"{layer_id(layer)} is written by no block: give layers from 1, each of which a block writes"
        )
    return layer


def _judged(
    layer: Layer, found: "BlockBits | None", bits: float, share: float, facts: "ModelFacts"
) -> Reason:
    if found is None:
        return Reason(
            where=layer_id(layer),
            status=Status.FAIL,
            quantity=_SHARE,
            value=0.0,
            bound=share,
            relation=">=",
            headline=f"not quantized: {facts.dtype} weights",
        )
    enough = judge(found.share, ">=", share)
    if enough is not Status.PASS:
        return Reason(
            where=layer_id(layer),
            status=enough,
            quantity=_SHARE,
            value=found.share,
            bound=share,
            relation=">=",
            evidence=(f"these at {show(found.bits)} bits, the rest as {facts.dtype}",),
            would_pass=f"share of at most {show_down(found.share)}",
            figures={"bits": found.bits},
        )
    return Reason(
        where=layer_id(layer),
        status=judge(found.bits, "<=", bits),
        quantity=_BITS,
        value=found.bits,
        bound=bits,
        relation="<=",
        evidence=(
            f"in {100 * found.share:.1f} % of the block's weights, least {show(found.least)}",
        ),
        would_pass=f"bits of at least {show_up(found.bits)}",
        figures={"share": found.share, "least": found.least},
    )


def _notes(facts: "ModelFacts") -> list[str]:
    """What was proved of the whole model, and of the matrices that are no block's."""
    info = facts.quantized
    if info is None:
        return [f"proved: no quantized weights, {facts.parameters:,} numbers as {facts.dtype}"]
    embedding = "not quantized" if info.embedding is None else f"{show(info.embedding)} bits"
    head = "" if info.head is None else f", head {show(info.head)} bits"
    return [f"proved: {info.line}; embeddings {embedding}{head}"]
