"""Proves on a few tokens that a model found by the rule is seen as SPEC section 1 says.

The table's families are held against the library by this package's tests. A family that is not in
the table is checked when it is loaded, by one pass over two rows that differ in their last token.
"""

import torch

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder

_LENGTH = 5
# Rounding of bfloat16 over a deep model stays below; a wrong module or a bidirectional mask do not.
_TOLERANCE = 0.05


def verify_view(decoder: Decoder) -> float:
    """Checks that the blocks are causal and that the final norm of the last gives ``"norm"``.

    Returns:
        The largest relative difference between states that should be equal, which rounding explains.
        States that are not finite are left out: an audit reports them.

    Raises:
        ModelError: an earlier state depends on the last token, or the module taken for the final
            norm does not turn the last block's output into the model's last hidden state.
    """
    last = decoder.vocab_size - 1
    row = torch.arange(_LENGTH) % decoder.vocab_size
    other = torch.cat([row[:-1], torch.tensor([last if int(row[-1]) != last else 0])])
    states = decoder.states(torch.stack([row, other]), [0, *decoder.layers])
    seen = 0.0
    for layer, found in states.items():
        if found.shape != (2, _LENGTH, decoder.hidden_size):
            raise ModelError(
                f"{decoder.source} ({decoder.family.name}): layer {layer} has states of shape"
                f" {tuple(found.shape)} for 2 rows of {_LENGTH} tokens, where one residual stream of"
                f" width {decoder.hidden_size} is needed"
            )
        seen = max(seen, _relative(found[1, :-1], found[0, :-1]))
        if seen > _TOLERANCE:
            raise ModelError(
                f"{decoder.source} ({decoder.family.name}): a state at layer {layer} depends on"
                " tokens that follow it; a causal decoder is needed"
            )
    norm = decoder.parts.norm
    with torch.no_grad():
        normed = states[decoder.n_layers] if norm is None else norm(states[decoder.n_layers])
    seen = max(seen, _relative(normed, states["norm"]))
    if seen > _TOLERANCE:
        raise ModelError(
            f"{decoder.source} ({decoder.family.name}) is not in the table of families, and"
            f" {decoder.family.base}.{decoder.family.norm} does not turn its last block's output"
            " into its last hidden state"
        )
    return seen


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
