"""Formats that are refused by name: the installed libraries cannot load them, or load them wrong."""

from pytest_injectivity.quantization.formats.base import Format, Signs

_QUANTO_MAP = "quanto_qmap.json"


class Unread(Format):
    """A format that is not read.

    Args:
        name: its ``quant_method``.
        refused: why it is not read.
    """

    def __init__(self, name: str, refused: str) -> None:
        self.name = name
        self.methods = (name,)
        self.refused = refused


class Quanto(Format):
    """Folders of quanto's own, whose configuration does not say that they are quantized."""

    name = "quanto"
    methods = ("quanto",)
    refused = "transformers 5 cannot save it, and opens quanto's own folders wrong"
    traces = (".weight._data",)

    def detect(self, signs: Signs) -> bool:
        """Whether the method is named, or quanto's own map lies in the folder."""
        return super().detect(signs) or _QUANTO_MAP in signs.files
