"""The network inverter trains a small network to read tokens from a released row and its neighbors.

Where a release is not linear (few coordinates, few bits), the mean of a token's released rows says less
than what they look like. The scores of the network (`search.row_network`) and the likelihoods of the
linear inverter are weighed as held-out examples are read best, so that what either reads is read.

Source: trained inversion models, Song and Raghunathan, "Information Leakage in Embedding Models" (arXiv
2004.00053); one is held against nearest neighbors in arXiv 2603.01499, table 1.
"""

from dataclasses import dataclass
from itertools import accumulate, product

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.inversion.lens_calibration import usable_tokens
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import AttackSetting, LookedUp
from pytest_injectivity.privacy.releases.examples import Examples
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.learned_lens import LearnedLens
from pytest_injectivity.privacy.search.row_network import (
    RowFeatures,
    RowNetwork,
    TokenKeys,
    told_apart,
    train,
)

_FEWEST = 20
# Coordinates of a row. Logits over a large vocabulary would need gigabytes.
_WIDEST = 4096
_HELD_OUT = 0.1
# Scores held at once.
_BLOCK_ELEMENTS = 2**24
# What the network's scores, and the lenses' likelihoods, may weigh. A lens takes coordinates for
# independent given the token, so its likelihoods are too sure.
_WEIGHTS = tuple(product((0.0, 0.25, 0.5, 1.0), (0.0, 0.02, 0.04, 0.08, 0.15, 0.3, 1.0)))[1:]


class NetworkInverterAttacker:
    """Answers with the token that a trained network and the linear inverter together score highest."""

    name = "network inverter"
    source = "trained inversion: Song and Raghunathan, arXiv 2004.00053; arXiv 2603.01499"
    teacher_forced = True
    free_running = False
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order, none too wide, with examples to learn from and hold out."""
        enough = len(channel.examples) >= _FEWEST and sum(channel.sides) <= _WIDEST
        return enough and channel.learns_rows_in_order

    def begin(self, setting: AttackSetting) -> LookedUp:
        """Learns from the examples, and answers all positions at once."""
        channel, decoder = setting.channel, setting.decoder
        home = channel.released[0].device
        devices = [home] if home.type == "cuda" else []
        usable = usable_tokens(decoder).to(home)
        # Short operations, which a second thread makes slower.
        with torch.random.fork_rng(devices), torch.enable_grad(), on_threads(1):
            torch.manual_seed(setting.seed)
            reader = _Reader.trained(decoder, channel.examples, setting.seed)
            inputs = torch.cat([reader.features(one[None])[0] for one in channel.released])
            rows, numbers = channel.every_row
            among = reader.network.keys_of(usable)
            step = _together(decoder.vocab_size)
            answers = [
                usable[reader.scores(inputs[some], rows[some], numbers[some], among).argmax(dim=1)]
                for some in torch.split(torch.arange(len(rows)), step)
            ]
        begun = [0, *accumulate(channel.lengths)]

        def scores(prompt: int, position: int) -> Float[Tensor, " vocab"]:
            one = slice(begun[prompt] + position, begun[prompt] + position + 1)
            found = reader.scores(inputs[one], rows[one], numbers[one], among)[0]
            every = found.new_full((decoder.vocab_size,), -torch.inf)
            return every.index_copy(0, usable, found)

        return LookedUp(channel, torch.cat(answers).cpu(), scores)


@dataclass(frozen=True, eq=False)
class _Reader:
    """Scores all tokens for the rows of a prompt: a network and lenses, weighed."""

    features: RowFeatures
    network: RowNetwork
    lenses: LearnedLens
    weights: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def trained(
        cls,
        decoder: Decoder,
        examples: Examples,
        seed: int,
    ) -> "_Reader":
        """What is learned from examples, a part of which says when to stop and what to trust."""
        rows, tokens = examples.stacked
        embeddings = decoder.embedding_matrix().to(rows.device).float().nan_to_num()
        usable = usable_tokens(decoder)
        order, count = torch.randperm(len(rows)), int(_HELD_OUT * len(rows))
        held, learned = order[:count], order[count:]
        kept = learned.tolist()
        lenses = LearnedLens.of(
            decoder,
            Examples(
                tuple(examples.prompts[one] for one in kept),
                tuple(examples.rows[one] for one in kept),
            ),
        )
        features, told = RowFeatures.of(rows[learned]), told_apart(tokens, usable, seed)
        scale = embeddings.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        network = RowNetwork(3 * rows.shape[2], embeddings / scale).to(rows.device)
        told = told.to(rows.device)
        places = torch.searchsorted(told, tokens.to(rows.device))
        inputs = features(rows)
        part = {
            name: (inputs[some].flatten(0, 1), places[some].flatten())
            for name, some in (("learned", learned), ("held", held))
        }
        among = network.keys_of(told)
        train(network, part["learned"], part["held"], among, seed)
        with torch.no_grad():
            own = network(part["held"][0], among).unflatten(0, (len(held), -1))
            numbers = torch.arange(rows.shape[1]).repeat(len(held))
            flat, step = rows[held].float().flatten(0, 1), _together(len(embeddings))
            parts = [
                lenses.likelihoods(flat[some], numbers[some])[:, told]
                for some in torch.split(torch.arange(len(flat)), step)
            ]
            linear = torch.cat(parts).reshape(*own.shape)
        first, later = (
            _weighed(own[:, at].flatten(0, 1), linear[:, at].flatten(0, 1), places[held][:, at])
            for at in (slice(0, 1), slice(1, None))
        )
        return cls(features, network, lenses, (first, later))

    @torch.no_grad()
    def scores(
        self,
        inputs: Float[Tensor, "rows features"],
        rows: Float[Tensor, "rows width"],
        numbers: Int64[Tensor, " rows"],
        among: TokenKeys,
    ) -> Float[Tensor, "rows scored"]:
        """The scores of some tokens for rows with these features and numbers in their prompts."""
        linear = self.lenses.likelihoods(rows, numbers)[:, among.tokens]
        weights = torch.tensor(self.weights)[(numbers > 0).long()].to(linear)
        found: Tensor = weights[:, :1] * self.network(inputs, among) + weights[:, 1:] * linear
        return found


def _together(vocab_size: int) -> int:
    """How many rows are scored at once."""
    return max(1, _BLOCK_ELEMENTS // vocab_size)


def _weighed(
    own: Float[Tensor, "rows told"],
    linear: Float[Tensor, "rows told"],
    places: Int64[Tensor, "held length"],
) -> tuple[float, float]:
    """The weights by which held-out tokens are most likely."""
    if not len(own):
        return 1.0, 0.0
    truth = places.flatten()
    lost = [float(cross_entropy(a * own + b * linear, truth)) for a, b in _WEIGHTS]
    return _WEIGHTS[lost.index(min(lost))]
