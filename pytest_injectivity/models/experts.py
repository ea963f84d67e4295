"""How many weights of a model's blocks a token is multiplied with: of experts those a router chooses."""

from typing import Any

from torch import nn

# How many experts a token goes to, by the names that configurations have for it.
_CHOSEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "top_k_experts",
)
_MATRICES = 2


def used_numbers(blocks: nn.Module, config: Any) -> int:
    """How many numbers of the blocks' weights one token is multiplied with.

    The library holds the matrices of all experts of a block as one tensor, an expert a slice of it.
    Where the configuration does not say how many a token goes to, all are counted.

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
    text = config.get_text_config()
    stated = (getattr(text, name, None) for name in _CHOSEN)
    chosen = next((one for one in stated if isinstance(one, int) and one > 0), None)
    used = 0
    for name, one in blocks.named_parameters():
        of_experts = "experts" in name.split(".") and one.dim() >= _MATRICES
        if of_experts and chosen is not None:
            used += one.numel() * min(chosen, one.shape[0]) // max(one.shape[0], 1)
        else:
            used += one.numel()
    return used
