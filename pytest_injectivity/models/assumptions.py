"""Looks up in a model what the injectivity theorem of [N] assumes (SPEC section 3).

[N] (arXiv 2510.15511) proves that a decoder with random real weights is injective on its prompts
almost surely when its activation is real-analytic, its width at least 4 and the epsilon of its
norms positive. The theorem speaks of no particular weights; two tokens that share an embedding row
break it at once, so equal rows are counted.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.known_tokens import known_tokens

# Real-analytic on the whole line, by the names transformers gives them.
_ANALYTIC = frozenset(
    {
        "gelu",
        "gelu_10_new",
        "gelu_accurate",
        "gelu_fast",
        "gelu_new",
        "gelu_python",
        "gelu_python_tanh",
        "gelu_pytorch_tanh",
        "linear",
        "mish",
        "quick_gelu",
        "sigmoid",
        "silu",
        "swish",
        "tanh",
    }
)
_ACTIVATIONS = ("hidden_activation", "activation_function", "hidden_act", "activation")
_EPSILON_ATTRIBUTES = ("eps", "variance_epsilon")
_LEAST_WIDTH = 4
# Modules that let the largest of some scores choose what runs, or what is looked at, by the names that
# transformers gives them: a choice jumps where two scores are equal.
_CHOOSING = ("Experts", "Router", "TopK", "Indexer", "CDMoE")


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """The assumptions of [N] as they stand in one model.

    Attributes:
        activation: the feed-forward activation, by transformers' name; ``"unknown"`` where the
            configuration names none.
        analytic: whether that activation is known to be real-analytic.
        width: of the residual stream.
        norm_eps: the least epsilon of its norms; ``None`` where none is found.
        tied: whether the language-model head shares the embedding's weights.
        duplicated_rows: pairs of tokens whose embedding rows are equal in every coordinate
            (``-0.0 == 0.0``).
        plain: whether the family is in the table (blocks of those families neither route tokens nor
            branch), no layer is quantized and no activation is rounded.
        quantized: the bits of the quantized weights; 0 where no weight is quantized.
        activations: the grid that activations are rounded to as the model runs, in words; empty where
            they are not rounded.
        routed: whether experts, or the tokens attended to, are chosen by the largest scores: near a tie
            a rounding changes the choice, and states are analytic in the parameters between ties only.
        left_out: parts that token ids never reach, by name, such as towers for images.
    """

    activation: str
    analytic: bool
    width: int
    norm_eps: float | None
    tied: bool
    duplicated_rows: int
    plain: bool = True
    quantized: float = 0.0
    activations: str = ""
    routed: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def analytic_architecture(self) -> bool:
        """Whether states are known to be real-analytic in the parameters, so that one draw suffices."""
        return self.analytic and self.plain and not self.routed and bool(self.norm_eps)

    @property
    def hold(self) -> bool:
        """Whether every assumption holds and no two tokens share a row."""
        norm = self.norm_eps is not None and self.norm_eps > 0
        analytic = self.analytic and not self.routed
        return analytic and self.width >= _LEAST_WIDTH and norm and not self.duplicated_rows

    @property
    def line(self) -> str:
        """The assumptions in one line of a report; those that do not hold stand in capitals."""
        analytic = "analytic" if self.analytic else "NOT known to be analytic"
        width = f"width {self.width}" + ("" if self.width >= _LEAST_WIDTH else " BELOW 4")
        rows = f"{self.duplicated_rows} DUPLICATED PAIRS" if self.duplicated_rows else "none equal"
        tied = "tied" if self.tied else "untied"
        routed = ", ROUTED by top-k (NOT analytic at ties)" if self.routed else ""
        weights = f", quantized to {self.quantized:g} bits" if self.quantized else ""
        rounded = f", activations ROUNDED to {self.activations}" if self.activations else ""
        towers = (
            f", text decoder alone, without {', '.join(self.left_out)}" if self.left_out else ""
        )
        return (
            f"{self.activation} ({analytic}), {width}, {self._norm}, embedding rows {tied},"
            f" {rows}{routed}{weights}{rounded}{towers}"
        )

    @property
    def _norm(self) -> str:
        if self.norm_eps is None:
            return "norm eps NOT FOUND"
        return f"norm eps {self.norm_eps:g}" + ("" if self.norm_eps > 0 else " NOT ABOVE 0")


def assumptions(decoder: Decoder) -> Assumptions:
    """Looks the assumptions up in a model's configuration, modules and embedding rows."""
    model: Any = decoder.model
    # Padding of the embedding is no token's, and often all alike.
    known = torch.from_numpy(known_tokens(decoder.tokenizer, decoder.vocab_size))
    known = known.to(decoder.device)
    config = model.config.get_text_config()
    named = (getattr(config, name, None) for name in _ACTIVATIONS)
    activation = next((name for name in named if isinstance(name, str)), "unknown")
    head = model.get_output_embeddings()
    kinds = {type(module).__name__ for module in decoder.parts.blocks.modules()}
    return Assumptions(
        activation=activation,
        analytic=activation in _ANALYTIC,
        width=decoder.hidden_size,
        norm_eps=_least_epsilon(decoder),
        tied=head is not None and getattr(head, "weight", None) is decoder.parts.embeddings.weight,
        duplicated_rows=equal_pairs(decoder.embedding_matrix()[known]),
        plain=decoder.family.known and decoder.quantized is None and decoder.rounding is None,
        quantized=0.0 if decoder.quantized is None else decoder.quantized.bits,
        activations="" if decoder.rounding is None else decoder.rounding.grid.words,
        routed=any(word in kind for kind in kinds for word in _CHOOSING),
        left_out=decoder.left_out,
    )


def equal_pairs(rows: Float[Tensor, "rows hidden"]) -> int:
    """Unordered pairs of rows equal in every coordinate, counted exactly by sorting."""
    _, counts = torch.unique(rows, dim=0, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def _least_epsilon(decoder: Decoder) -> float | None:
    """The least epsilon of the norms that run: read off the modules, not off the configuration."""
    found = [
        value
        for module in decoder.parts.base.modules()
        for name in _EPSILON_ATTRIBUTES
        if isinstance(value := getattr(module, name, None), float)
    ]
    return min(found, default=None)
