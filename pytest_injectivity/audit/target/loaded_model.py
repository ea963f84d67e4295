"""The model of a target in memory: loaded on first use, unloaded when room is needed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.quantization.activation_hooks import Rounding


class LoadedModel:
    """A model that is loaded on first use and can be unloaded and loaded again.

    Args:
        load: loads the weights.
        rounding: returns how activations are rounded as the model runs; None leaves them as they
            are. It is called with the model in memory, which it may run to calibrate scales.
    """

    def __init__(
        self, load: "Callable[[], Decoder]", rounding: "Callable[[], Rounding] | None"
    ) -> None:
        self._load = load
        self._rounding = rounding
        self._plain: Decoder | None = None
        self._rounded: Decoder | None = None

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._plain is not None

    @property
    def unrounded(self) -> "Decoder":
        """The model as it was loaded, its activations as they are."""
        if self._plain is None:
            self._plain = self._load()
        return self._plain

    @property
    def decoder(self) -> "Decoder":
        """The model, which rounds its activations as it runs where that was asked for."""
        if self._rounding is None:
            return self.unrounded
        if self._rounded is None:
            self._rounded = self.unrounded.rounded(self._rounding())
        return self._rounded

    def adopt(self, decoder: "Decoder") -> None:
        """Use a model that another target of the same checkpoint has loaded and handed over."""
        self._plain, self._rounded = decoder, None

    def hand_over(self) -> "Decoder | None":
        """Give the model away, without its rounding; None where none is loaded."""
        given = self._plain
        self._plain = self._rounded = None
        return given
