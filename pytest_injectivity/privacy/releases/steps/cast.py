"""``cast(dtype)``: converts rows to another floating dtype and back.

8-bit rows have one scale a row, so that no coordinate overflows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step

_DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}


@dataclass(frozen=True, eq=False)
class CastRelease(DeterministicRelease):
    """Rounds rows to the numbers of another dtype.

    Attributes:
        dtype: the dtype that is sent.
    """

    dtype: torch.dtype

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rows after the conversion, in their own dtype again."""
        if self.dtype.itemsize > 1:
            return candidates.to(self.dtype).to(candidates.dtype)
        largest = candidates.abs().amax(dim=1, keepdim=True).float()
        scale = torch.where(largest > 0, largest / torch.finfo(self.dtype).max, 1.0)
        cast = (candidates.float() / scale).to(self.dtype)
        return (cast.float() * scale).to(candidates.dtype)


@release_step("cast")
def bind_cast(step: StepSpec, rows: RowScale) -> Release:
    """Makes the conversion."""
    return CastRelease(rows.width, _DTYPES[step.value("dtype", str)])
