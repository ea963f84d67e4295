"""Keeps the lenses of a decoder, so that all releases and attackers share one calibration."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_calibration import calibrate, calibration_size
from pytest_injectivity.models.decoder import Decoder

_Key = tuple[Layer, int, int, int]

_LENSES: WeakKeyDictionary[Decoder, dict[_Key, Lens]] = WeakKeyDictionary()


def lens_of(decoder: Decoder, layer: Layer, lengths: Sequence[int], seed: int) -> Lens:
    """A lens for prompts of some lengths, calibrated when it is first asked for.

    Args:
        decoder: the attacker's model.
        layer: the layer whose states are read.
        lengths: number of tokens of each prompt to be read.
        seed: seed of the sequences that the lens is calibrated on.
    """
    held = _LENSES.setdefault(decoder, {})
    longest = max(*lengths, 2)
    tokens = calibration_size(decoder.vocab_size, decoder.hidden_size, sum(lengths))
    key = (layer, longest, tokens, seed)
    if key not in held:
        held[key] = calibrate(decoder, layer, tokens=tokens, length=longest, seed=seed)
    return held[key]
