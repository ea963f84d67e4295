"""Cuts of a split inference as texts of releases: each wire dtype at each layer."""

from collections.abc import Sequence

from pytest_injectivity.core.layers import LayerSpec, resolve_layers
from pytest_injectivity.errors import OptionError

WIRES = ("identity", "cast(bf16)", "cast(fp16)", "cast(fp8)")
"""What states are sent as: in the model's dtype, or in another."""


def cut_releases(layers: LayerSpec, wires: Sequence[str], n_layers: int) -> tuple[str, ...]:
    """The releases of cuts, shallow first.

    Args:
        layers: the cuts.
        wires: steps of the grammar of releases.
        n_layers: the model's number of blocks.

    Raises:
        OptionError: there is no wire, or one names a place itself.
        LayerError: the model has no such layer.

    Example:
        >>> cut_releases([1, -1], ["identity", "cast(fp8)"], n_layers=4)
        ('identity@1', 'cast(fp8)@1', 'identity@4', 'cast(fp8)@4')
    """
    steps = (wires,) if isinstance(wires, str) else tuple(wires)
    if not steps or any(not isinstance(one, str) or "@" in one for one in steps):
        raise OptionError(
            f"wires={wires!r}: give steps without a place, such as {', '.join(map(repr, WIRES))}"
        )
    return tuple(f"{wire}@{layer}" for layer in resolve_layers(layers, n_layers) for wire in steps)
