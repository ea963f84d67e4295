"""Formats that are refused by name: the installed libraries cannot load them, or load them wrong."""

from pytest_injectivity.quantization.formats.base import Format, Signs

_QUANTO_MAP = "quanto_qmap.json"


class Quanto(Format):
    """Folders of quanto's own, whose configuration does not say that they are quantized."""

    name = "quanto"
    methods = ("quanto",)
    refused = "transformers 5 cannot save it, and opens quanto's own folders wrong"
    traces = (".weight._data",)

    def detect(self, signs: Signs) -> bool:
        """Whether the method is named, or quanto's own map lies in the folder."""
        return super().detect(signs) or _QUANTO_MAP in signs.files


class Mlx(Format):
    """Folders of Apple's MLX: codes, scales and biases in groups, under the key ``quantization``."""

    name = "mlx"
    refused = "transformers does not read codes, scales and biases of MLX"

    def detect(self, signs: Signs) -> bool:
        """Whether the key is there; MLX repeats it as a ``quantization_config`` without a method."""
        return bool(signs.config.get("quantization")) and signs.method is None


class Elsewhere(Format):
    """A quantization that is said in a place where transformers does not look.

    Args:
        key: of ``config.json``, or the name of a file beside it.
        writer: what wrote it.
    """

    def __init__(self, key: str, writer: str) -> None:
        self.name = key
        self.refused = (
            f"{writer} wrote it, and transformers reads quantization_config in config.json alone: the"
            " codes would be loaded as numbers"
        )

    def detect(self, signs: Signs) -> bool:
        """Whether this place alone says that the checkpoint is quantized."""
        return not signs.said and (bool(signs.config.get(self.name)) or self.name in signs.files)


class Nested(Format):
    """A ``quantization_config`` inside the configuration of a part, which the library does not read."""

    name = "quantization_config of a part"
    refused = "transformers reads the one of the whole config.json alone"

    def detect(self, signs: Signs) -> bool:
        """Whether a part's configuration has one and the whole has none."""
        parts = [part for part in signs.config.values() if isinstance(part, dict)]
        named = ("quantization_config", "compression_config")
        return not signs.said and any(part.get(name) for part in parts for name in named)
