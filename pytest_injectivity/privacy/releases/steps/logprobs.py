"""``logprobs(top)``: the log-probabilities of the most likely tokens, as serving interfaces return them.

A row of logits becomes its logarithmic softmax, of which the largest ``top`` are sent. The others are
sent as the smallest of these: the receiver knows that they are no larger. ``top=0`` sends all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


@dataclass(frozen=True, eq=False)
class LogprobsRelease(DeterministicRelease):
    """Sends the largest log-probabilities of each row.

    Attributes:
        top: how many of each row are sent.
    """

    top: int

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The log-probabilities, those that are not sent replaced by the smallest one sent."""
        exact = candidates if candidates.dtype == torch.float64 else candidates.float()
        logprobs = exact.log_softmax(dim=1)
        if self.top < self.width:
            least = logprobs.topk(self.top, dim=1).values[:, -1:]
            logprobs = torch.maximum(logprobs, least)
        return logprobs.to(candidates.dtype)


@release_step("logprobs")
def bind_logprobs(step: StepSpec, rows: RowScale) -> Release:
    """Sends as many of each row as it has, where ``top`` is 0 or more than that."""
    top = step.value("top", int)
    return LogprobsRelease(rows.width, min(top, rows.width) or rows.width)
