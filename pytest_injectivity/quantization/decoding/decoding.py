"""What of a checkpoint is decoded here, and what its tensors are like once it is."""

from dataclasses import dataclass
from functools import cached_property

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix
from pytest_injectivity.quantization.stored_tensors import StoredTensor, StoredWeights


@dataclass(frozen=True, eq=False)
class Decoding:
    """The matrices of a checkpoint that are decoded here.

    Attributes:
        stored: what its files hold.
        matrices: that are decoded; none in full precision, and none of a format that stays packed.
        whole: the model is loaded as a plain one of decoded weights; else by the format's library.
        left_out: ends of names of tensors that scale activations, which no parameter takes.
    """

    stored: StoredWeights
    matrices: tuple[EncodedMatrix, ...] = ()
    whole: bool = False
    left_out: tuple[str, ...] = ()

    @cached_property
    def headers(self) -> dict[str, StoredTensor]:
        """The headers of the tensors as they are once every matrix is decoded.

        Raises:
            ModelError: a matrix is stored twice, as numbers and as codes.
        """
        taken = {name for one in self.matrices for name in one.parts.values()}
        plain = {
            name: tensor
            for name, tensor in self.stored.tensors.items()
            if name not in taken and not name.endswith(self.left_out)
        }
        if twice := sorted(plain.keys() & {one.name for one in self.matrices}):
            raise ModelError(
                f"{twice[0]} is stored as numbers and as codes: one of them is accepted"
            )
        return plain | {one.name: StoredTensor("F32", one.shape) for one in self.matrices}
