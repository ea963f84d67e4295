"""The errors of a model's weights and blocks against its parent's, kept in the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.basis import turn_of
from pytest_injectivity.core.layers import HEAD, Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.reference.errors.block_error import BlockError
    from pytest_injectivity.reference.errors.weight_error import WeightError

PROMPTS = 100
"""How many prompts the blocks are compared on, where no number is given."""


@dataclass(frozen=True)
class BlockErrorsKey(NumberKey):
    """The errors of all blocks.

    Attributes:
        prompts: how many prompts, those of smallest hash.
    """

    prompts: int


@dataclass(frozen=True)
class WeightErrorsKey(NumberKey):
    """The errors of all tensors."""


@dataclass(frozen=True)
class UnlikePartKey(NumberKey):
    """The part of the parent that the model lacks, in words."""


@dataclass(frozen=True)
class LeftOutKey(NumberKey):
    """The parts of the parent that no token reaches."""


@dataclass(frozen=True)
class BitsKey(NumberKey):
    """The bits proved at each layer, of the model's weights."""


def block_errors_of(against: "Against", prompts: int = PROMPTS) -> "dict[str, BlockError]":
    """The error of the embeddings, of each block, of the final norm and of the head, by site.

    Args:
        against: the model and its parent.
        prompts: the most prompts compared, those of smallest hash.
    """
    most = min(prompts, len(against.child.target.prompts))
    found = against.remember(BlockErrorsKey(most), lambda: _block_errors(against, most))
    return {one.site: one for one in found}


def unlike_part_of(against: "Against") -> str:
    """Says which part of the parent the model lacks, or has in another shape; empty where it has all."""

    def compute() -> str:
        from pytest_injectivity.reference.parts import unlike_part

        return unlike_part(*decoders(against))

    return against.remember(UnlikePartKey(), compute)


def left_out_of(against: "Against") -> tuple[str, ...]:
    """The parts of the parent that no token reaches, and whose weights are not compared."""

    def compute() -> tuple[str, ...]:
        from pytest_injectivity.reference.parts import left_out

        return left_out(against.parent.target.decoder)

    return against.remember(LeftOutKey(), compute)


def vocabulary_line(against: "Against") -> str:
    """How many rows of the vocabulary are not compared, in words; empty where both have as many."""
    sizes = [one.target.facts.vocab_size for one in (against.child, against.parent)]
    if sizes[0] == sizes[1]:
        return ""
    whose = "model" if sizes[0] > sizes[1] else "parent"
    beyond = number_of(max(sizes) - min(sizes), "row")
    return (
        f"left out, because no token has them: {beyond} of the {whose}'s vocabulary of {max(sizes)}"
    )


def check_parts(against: "Against") -> None:
    """Refuse two models whose tensors cannot be compared one by one.

    Raises:
        OptionError: the model lacks a part of its parent, or has it in another shape.
    """
    if unlike := unlike_part_of(against):
        child, parent = (one.target.config.model for one in (against.child, against.parent))
        raise OptionError(
            f"--injx-reference={parent} has other parts than {child}: {unlike}; give the checkpoint that"
            " it was made from"
        )


def weight_errors_of(against: "Against") -> "tuple[WeightError, ...]":
    """The error of each tensor, in the order in which a token meets them.

    Raises:
        OptionError: the model lacks a part of its parent, or has it in another shape.
    """
    check_parts(against)

    def compute() -> "tuple[WeightError, ...]":
        from pytest_injectivity.reference.errors.rescaled import taken_back
        from pytest_injectivity.reference.errors.weight_error import weight_errors
        from pytest_injectivity.reference.parts import parts_of

        child, parent = decoders(against)
        return taken_back(child, parent, parts_of(parent), weight_errors(child, parent))

    return against.remember(WeightErrorsKey(), compute)


def proved_bits(against: "Against") -> dict[str, float]:
    """The fewest bits proved of a quantized matrix, by layer id from ``layer00`` to ``norm``."""

    def compute() -> tuple[float, ...]:
        from pytest_injectivity.reference.errors.proved_bits import bits_at

        decoder = against.child.target.decoder
        return tuple(bits_at(decoder, layer) for layer in (0, *decoder.layers))

    layers: tuple[Layer, ...] = (0, *range(1, against.child.target.n_layers + 1), "norm")
    found = against.remember(BitsKey(), compute)
    return {layer_id(layer): bits for layer, bits in zip(layers, found, strict=True)}


def site_layer(site: str, n_layers: int) -> Layer:
    """The layer with which a site is judged: the head with ``norm``."""
    if site in (HEAD, "norm"):
        return "norm"
    return next(layer for layer in range(n_layers + 1) if layer_id(layer) == site)


def accepted_errors(against: "Against", errors: "Mapping[str, BlockError]") -> dict[str, float]:
    """The largest error of each site that the bits proved there, and the dtypes, explain.

    Args:
        against: the model and its parent.
        errors: by site.
    """
    from pytest_injectivity.reference.errors.block_bounds import explained

    facts = [one.target.facts for one in (against.child, against.parent)]
    info = facts[0].quantized
    bits = proved_bits(against)
    return {
        site: explained(
            one,
            bits[layer_id(site_layer(site, against.child.target.n_layers))],
            dtypes=[fact.dtype for fact in facts],
            rounds_activations=info is not None and info.rounds_activations,
        )
        for site, one in errors.items()
    }


def _block_errors(against: "Against", most: int) -> "tuple[BlockError, ...]":
    from pytest_injectivity.reference.errors.block_error import block_errors

    target = against.child.target
    ids = target.prompts.subset(most).ids
    turn = turn_of(against)
    with target.watcher.progress("comparing blocks with the parent's", len(ids)) as advance:
        return block_errors(*decoders(against), ids, turn=turn, progress=advance)


def decoders(against: "Against") -> "tuple[Decoder, Decoder]":
    """The model and its parent, both in memory."""
    return against.child.target.decoder, against.parent.target.decoder
