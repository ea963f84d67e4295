"""Facts about a model that stay known after its weights are unloaded."""

import copy
from dataclasses import dataclass

import torch

from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.experts import used_numbers
from pytest_injectivity.models.families import context_length, find_family, find_parts
from pytest_injectivity.models.finite_weights import weights_not_finite
from pytest_injectivity.models.header_check import as_described
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.models.weight_digest import WeightDigest
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.quantization.packed_modules import numbers

_SAMPLE = 4096
_NAMED = 5


@dataclass(frozen=True)
class ModelFacts:
    """Plain data about a decoder, which a store can keep.

    Attributes:
        family: its name in the table of families.
        n_layers: the number of blocks.
        hidden_size: the width of the residual stream.
        vocab_size: rows of the input embedding.
        context: the longest prompt accepted, in tokens; None where there is no limit.
        dtype: of the states, such as ``float32``.
        parameters: how many numbers its weights stand for.
        quantized: what was proved of its quantized weights; None in full precision.
        weights_sample: the digest of a sample of each tensor of the weights, which models of other
            weights rarely share; empty where weights are packed.
        not_finite: the names of weights that have a NaN or an infinity.
        activations: the grid every block's output is rounded to as it runs, as text; empty: none.
        block_parameters: of the parameters those of the blocks.
        used_parameters: of those of the blocks the ones that a token is multiplied with: of experts
            those that a router chooses.
    """

    family: str
    n_layers: int
    hidden_size: int
    vocab_size: int
    context: int | None
    dtype: str
    parameters: int
    quantized: QuantizationInfo | None = None
    weights_sample: str = ""
    not_finite: tuple[str, ...] = ()
    activations: str = ""
    block_parameters: int = 0
    used_parameters: int = 0

    @property
    def not_finite_line(self) -> str:
        """The weights that are not finite as a sentence; empty where all are finite.

        >>> broken = ModelFacts("gpt2", 1, 8, 64, 16, "float32", 9, not_finite=("lm_head.weight",))
        >>> broken.not_finite_line
        'a NaN or an infinity in the weights: lm_head.weight'
        """
        if not self.not_finite:
            return ""
        left = len(self.not_finite) - _NAMED
        more = f" and {number_of(left, 'more tensor')}" if left > 0 else ""
        return f"a NaN or an infinity in the weights: {', '.join(self.not_finite[:_NAMED])}{more}"

    @classmethod
    def described(cls, checkpoint: Checkpoint, dtype: str) -> "ModelFacts":
        """What a configuration says of its model, whose weights are not needed.

        Args:
            checkpoint: as `resolve` gives it.
            dtype: as for `load_decoder`.

        Raises:
            ModelError: the library cannot build the model, or it has no blocks.
        """
        config = copy.deepcopy(checkpoint.config)
        # What packs the weights changes neither their number nor the states' size.
        config.__dict__.pop("quantization_config", None)
        width = config.get_text_config().hidden_size
        if checkpoint.n_layers < 1 or width < 1:
            raise ModelError(
                f"{checkpoint.source}: {checkpoint.n_layers} blocks of width {width} are no model: at"
                " least one of width 1 is accepted"
            )
        with quiet():
            model = as_described(config, checkpoint.source)
        family = find_family(model)
        parts = find_parts(model, family)
        stated = config.get_text_config().dtype or config.dtype or torch.float32
        return cls(
            family=family.name,
            n_layers=checkpoint.n_layers,
            hidden_size=width,
            vocab_size=parts.embeddings.weight.shape[0],
            context=context_length(model),
            dtype=str(stated).removeprefix("torch.") if dtype == "auto" else dtype,
            parameters=sum(one.numel() for one in model.parameters()),
            block_parameters=sum(one.numel() for one in parts.blocks.parameters()),
            used_parameters=used_numbers(parts.blocks, config),
        )

    @classmethod
    def of(cls, decoder: Decoder) -> "ModelFacts":
        """Reads the facts off a loaded model."""
        packed = decoder.quantized is not None and not decoder.quantized.dense
        stored = None if decoder.streamed is None else decoder.streamed.disk.tensor
        return cls(
            family=decoder.family.name,
            n_layers=decoder.n_layers,
            hidden_size=decoder.hidden_size,
            vocab_size=decoder.vocab_size,
            context=decoder.context,
            dtype=str(decoder.dtype).removeprefix("torch."),
            parameters=numbers(decoder.model),
            block_parameters=numbers(decoder.parts.blocks),
            used_parameters=numbers(decoder.parts.blocks)
            if packed
            else used_numbers(decoder.parts.blocks, decoder.model.config),
            quantized=decoder.quantized,
            weights_sample=""
            if packed
            else WeightDigest.of(decoder.model, sample=_SAMPLE, stored=stored).text,
            not_finite=weights_not_finite(decoder.model, stored),
            activations="" if decoder.rounding is None else str(decoder.rounding.grid),
        )
