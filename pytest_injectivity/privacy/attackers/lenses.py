"""The lens of a layer, calibrated once for all releases."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_calibration import calibrate, calibration_size
from pytest_injectivity.models.decoder import Decoder

_LENSES: WeakKeyDictionary[Decoder, dict[tuple[Layer, int, int], Lens]] = WeakKeyDictionary()


def lens_of(decoder: Decoder, layer: Layer, lengths: Sequence[int], seed: int) -> Lens:
    """A lens for prompts of these lengths, calibrated when it is first asked for.

    Args:
        decoder: the attacker's model.
        layer: whose states are read.
        lengths: tokens of the prompts to be read.
        seed: of the sequences it is calibrated on.
    """
    held = _LENSES.setdefault(decoder, {})
    longest = max(*lengths, 2)
    key = (layer, longest, seed)
    if key not in held:
        tokens = calibration_size(decoder.vocab_size, decoder.hidden_size, sum(lengths))
        held[key] = calibrate(decoder, layer, tokens=tokens, length=longest, seed=seed)
    return held[key]
