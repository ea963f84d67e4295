"""What is known of a model without its weights, once it has been loaded."""

from dataclasses import dataclass

from pytest_injectivity.models.decoder import Decoder


@dataclass(frozen=True)
class ModelFacts:
    """Plain data about a decoder; see `Decoder` for what each is.

    Attributes:
        family: its name in the table of families.
        n_layers, hidden_size, vocab_size, context: as the decoder's.
        dtype: of the states, such as ``float32``.
        parameters: how many numbers its weights are.
    """

    family: str
    n_layers: int
    hidden_size: int
    vocab_size: int
    context: int | None
    dtype: str
    parameters: int

    @classmethod
    def of(cls, decoder: Decoder) -> "ModelFacts":
        """The facts of a loaded model."""
        return cls(
            family=decoder.family.name,
            n_layers=decoder.n_layers,
            hidden_size=decoder.hidden_size,
            vocab_size=decoder.vocab_size,
            context=decoder.context,
            dtype=str(decoder.dtype).removeprefix("torch."),
            parameters=sum(parameter.numel() for parameter in decoder.model.parameters()),
        )
