"""The last-state inverter reads a whole prompt from its one released row, and runs no candidate.

The row is the last token's, or the mean of all positions'. From examples the attacker learns what it
says of the token at each distance from the end of the prompt: its embedding row, by kernel ridge
regression (`search.kernel_ridge`). Where the true tokens stand before a position, the model's own
next-token probabilities help. How much both weigh is settled on examples that are left out, for each
distance by itself: the row tells most of the last token. Behind its own answers, of which many are
wrong, probabilities would mislead, and the row is all that the attacker reads.

Sources: inversion of sentence embeddings by multi-set prediction, Song and Raghunathan, "Information
Leakage in Embedding Models" (arXiv 2004.00053); whole texts from one embedding, Morris et al., "Text
Embeddings Reveal (Almost) As Much As Text" (arXiv 2310.06816). Those train a network; a kernel read more
of few examples.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pytest_injectivity.core.shapes import Float, Float32, Int64
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.inversion.lens_calibration import usable_tokens
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess, ranks_of
from pytest_injectivity.privacy.releases.examples import Examples
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.kernel_ridge import FEWEST, KernelRidge, squared_distances
from pytest_injectivity.privacy.search.one_step_tables import surprises
from pytest_injectivity.privacy.search.row_network import told_apart

# What a squared distance from the embedding row told, and the model's surprise, may weigh.
_NEAR = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_LIKELY = (0.0, 0.15, 0.3, 0.6, 1.0)
# Examples that weights are settled on.
_SETTLED_ON = 128


class LastStateInverterAttacker:
    """Answers with the token whose embedding row is nearest to the one told, and likely there."""

    name = "last-state inverter"
    source = "embedding inversion: arXiv 2004.00053, arXiv 2310.06816; kernel ridge"
    teacher_forced = True
    free_running = True
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether each prompt is one row, with examples of prompts that are as long."""
        examples = channel.examples
        return (
            channel.place.one_row
            and max(map(len, channel.released)) == 1
            and len(examples) >= FEWEST
            and max(channel.lengths) <= len(examples.prompts[0])
        )

    def begin(self, setting: AttackSetting) -> "_LastStateAttack":
        """Learns from the examples."""
        # Short operations, which a second thread makes slower.
        with on_threads(1):
            return _LastStateAttack(setting)


class _LastStateAttack(BaseAttack):
    compares = False

    def __init__(self, setting: AttackSetting) -> None:
        decoder, channel = setting.decoder, setting.channel
        examples, self._lengths = channel.examples, channel.lengths
        rows, tokens = torch.cat(examples.rows), torch.tensor(examples.prompts)
        self._keys = _scaled(decoder.embedding_matrix()).to(rows.device)
        usable = usable_tokens(decoder)
        self._named = torch.isin(torch.arange(len(self._keys)), usable).to(rows.device)
        ridge = KernelRidge.of(rows, self._keys[tokens.to(rows.device)].flatten(1))
        shape = -1, *tokens.shape[1:], self._keys.shape[1]
        self._told = ridge(torch.cat(channel.released)).float().reshape(shape)
        left_out = ridge.left_out[:_SETTLED_ON].float().reshape(shape)
        among = told_apart(tokens, usable, setting.seed)
        self._weights = [
            _settled(
                squared_distances(left_out[:, at], self._keys[among.to(rows.device)]),
                torch.searchsorted(among, tokens[:_SETTLED_ON, at].contiguous()).to(rows.device),
                _after(decoder, examples, at).to(rows.device)[:, among]
                if setting.teacher_forced
                else None,
            )
            for at in range(tokens.shape[1])
        ]

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The likeliest token at this distance from the end of each prompt."""
        scores = torch.stack([self._scores(view, one) for one in prompts])
        return Guess.unverified(scores.argmax(dim=1).cpu(), partial(ranks_of, scores))

    def _scores(self, view: ChannelView, prompt: int) -> Float32[Tensor, " vocab"]:
        at = view.position - self._lengths[prompt]
        near, likely = self._weights[at]
        scores = -near * squared_distances(self._told[prompt, at][None], self._keys)[0]
        if likely:
            scores -= likely * view.table.surprise.to(scores)
        return scores.masked_fill(~self._named, -torch.inf)


def _scaled(embeddings: Float[Tensor, "vocab width"]) -> Float32[Tensor, "vocab width"]:
    """Embedding rows whose coordinates have a root mean square of 1."""
    rows = embeddings.float().nan_to_num()
    scaled: Tensor = rows / rows.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
    return scaled


def _after(decoder: Decoder, examples: Examples, at: int) -> Float32[Tensor, "examples vocab"]:
    """The model's surprise at every token after the first tokens of examples."""
    some = torch.tensor(examples.prompts[:_SETTLED_ON])
    return surprises(decoder, some[:, :at])


def _settled(
    away: Float32[Tensor, "examples among"],
    truth: Int64[Tensor, " examples"],
    surprise: Float32[Tensor, "examples among"] | None,
) -> tuple[float, float]:
    """The weights by which the tokens of examples that were left out are likeliest.

    Without the model's surprise its weight is 0.
    """
    likely, unlikely = ((0.0,), 0.0) if surprise is None else (_LIKELY, surprise)
    weights = list(product(_NEAR, likely))
    lost = [float(cross_entropy(-a * away - b * unlikely, truth)) for a, b in weights]
    return weights[lost.index(min(lost))]
