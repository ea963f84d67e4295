"""How many weights of a model's blocks a token is multiplied with: of experts those a router chooses."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from pytest_injectivity.models.header_check import EXPERTS

# How many experts a token goes to, by the names that configurations have for it.
_CHOSEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "top_k_experts",
)
_STACKED = 3


def used_numbers(blocks: nn.Module, config: Any) -> int:
    """How many numbers of the blocks' weights one token is multiplied with.

    The library holds the matrices of all experts of a block as one tensor, an expert a slice of it.
    Where the configuration does not say how many there are, and to how many a token goes, all are
    counted.

    Args:
        blocks: of a model; their weights need no memory.
        config: of the model.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> decoder = tiny_decoder("llama", n_layers=1)
        >>> every = sum(one.numel() for one in decoder.parts.blocks.parameters())
        >>> used_numbers(decoder.parts.blocks, decoder.model.config) == every
        True
    """
    chosen, every = (_stated(config, names) for names in (_CHOSEN, EXPERTS))
    if not chosen or not every:
        return sum(one.numel() for one in blocks.parameters())
    return sum(
        one.numel() * min(chosen, every) // every if _of_experts(name, one, every) else one.numel()
        for name, one in blocks.named_parameters()
    )


def _of_experts(name: str, one: Tensor, every: int) -> bool:
    """Whether a tensor has a matrix or a bias for each expert; a router's matrix has a row for each."""
    dimensions = _STACKED - name.endswith("bias")
    return one.dim() == dimensions and one.shape[0] == every


def _stated(config: Any, names: Iterable[str]) -> int:
    """The first of these numbers that the configuration states; 0 where there is none."""
    text = config.get_text_config()
    stated = (getattr(text, name, None) for name in names)
    return next((one for one in stated if isinstance(one, int) and one > 0), 0)
