"""Evaluates the likely tokens behind a prefix, most likely first, until little of the posterior is left.

Most tokens of a vocabulary are nowhere near a released row, and running them takes nearly all of an
attack's time. A `Ranking` says beforehand how likely each token is, and the likely ones are run in
rounds. A row is done

- when one candidate alone is within reach of it (SipIt's verifier, in the metric of the noise), or is
  less than half as far as any other,
- when the ranking leaves little of the posterior to other tokens, and a candidate is within reach,
- when the most candidates allowed were run.

The true tokens are not known here: what was missed is judged afterwards (`schedule`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float32, Int64
from pytest_injectivity.models.candidates_together import candidates_behind
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable, surprises
from pytest_injectivity.privacy.search.ranking import Ranking

LEFT_OUT = 1e-3
"""Default share of a row's posterior that may be left out."""

FIRST_ROUND = 32
"""Default number of candidates of a row in the first round."""

# How many times as many there are after each further round.
_GROWTH = 4
# A candidate that is at most this share as far from a row as the next one stands out.
_APART = 0.5
# Prefixes whose next-token probabilities are computed together.
_TOGETHER = 32


@dataclass(frozen=True, eq=False)
class Asked:
    """A prefix, and whose rows are to be read behind it.

    Attributes:
        prefix: the tokens before the position.
        places: the places that will be asked for.
        readers: channels whose attackers compare likely candidates, with the prompts they read.
    """

    prefix: Prefix
    places: tuple[Place, ...]
    readers: Sequence[tuple[Channel, Sequence[int]]]


class Pruning:
    """Makes tables of the likely tokens.

    Args:
        decoder: the attackers' model.
        rankings: the ranking of each channel, by its `id`.
        most: the most candidates run for a prompt behind one prefix.
        left_out: the share of a row's posterior that may be left out.
        first_round: candidates of a row in the first round.
    """

    def __init__(
        self,
        decoder: Decoder,
        rankings: Mapping[int, Ranking],
        most: int,
        *,
        left_out: float = LEFT_OUT,
        first_round: int = FIRST_ROUND,
    ) -> None:
        self._decoder = decoder
        self._rankings = rankings
        self._most = most
        self._left_out = left_out
        self._first_round = first_round

    def tables(self, asked: Sequence[Asked]) -> list[OneStepTable]:
        """The tables behind prefixes of one length; of the whole vocabulary where it is as cheap."""
        searches = []
        for start in range(0, len(asked), _TOGETHER):
            some = asked[start : start + _TOGETHER]
            found = surprises(self._decoder, torch.stack([one.prefix.ids for one in some]))
            searches += [self._search(one, of) for one, of in zip(some, found, strict=True)]
        count = self._first_round
        while running := [one for one in searches if not one.finished]:
            self._round([one for one in running if one.draw(count)])
            for one in running:
                one.settle(count)
            count *= _GROWTH
        return [one.table for one in searches]

    def _search(self, asked: Asked, surprise: Float32[Tensor, " vocab"]) -> "_Search":
        """A search whose rows have a list of tokens each; the whole vocabulary where one has none."""
        whole = OneStepTable(self._decoder, asked.prefix, asked.places, surprise=surprise)
        sought = []
        for channel, prompts in asked.readers:
            found = self._rankings[id(channel)].log_posteriors(prompts, whole.position, surprise)
            if found is None or bool(found.isnan().any()):
                return _Search(whole, [], 0)
            sought += [
                self._sought(channel, prompt, logs)
                for prompt, logs in zip(prompts, found, strict=True)
            ]
        return _Search(whole, sought, self._most * len({one.prompt for one in sought}))

    def _sought(self, channel: Channel, prompt: int, logs: Float32[Tensor, " vocab"]) -> "_Sought":
        """A row with as many tokens as are allowed, and how many of them hold nearly all shares."""
        best = logs.topk(min(self._most, len(logs)))
        enough = int((best.values.exp().cumsum(dim=0) < 1 - self._left_out).sum()) + 1
        # Rows of the embedding that no token has are never likely.
        listed = best.indices[best.values > -torch.inf].cpu()
        return _Sought(channel, prompt, listed, enough)

    def _round(self, running: Sequence["_Search"]) -> None:
        """Runs the candidates drawn."""
        if running:
            layers = running[0].whole.layers
            # Caches, attention and routing are run by the tables, when they are asked for.
            states: Sequence[Mapping[Layer, Tensor]] = [{} for _ in running]
            if layers:
                states = candidates_behind(
                    self._decoder,
                    [one.whole.prefix for one in running],
                    [one.drawn for one in running],
                    layers,
                )
            for one, some in zip(running, states, strict=True):
                one.table = one.table.joined(one.drawn, some)


@dataclass(eq=False)
class _Sought:
    """A row to be read.

    Attributes:
        channel, prompt: whose.
        listed: its tokens, most likely first.
        enough: how many of them are enough, if the row is near one of them.
        done: whether it needs no more.
    """

    channel: Channel
    prompt: int
    listed: Int64[Tensor, " listed"]
    enough: int
    done: bool = False


class _Search:
    """The search behind one prefix.

    Args:
        whole: the table of the vocabulary, which is not computed unless it is asked for.
        sought: the rows; none where the whole vocabulary is to be compared.
        most: the most candidates that are run.
    """

    def __init__(self, whole: OneStepTable, sought: Sequence[_Sought], most: int) -> None:
        self.whole = whole
        self.drawn: Int64[Tensor, " drawn"] = torch.empty(0, dtype=torch.long)
        self.table = whole.only(self.drawn, {}) if sought else whole
        self._sought = sought
        self._most = most

    @property
    def finished(self) -> bool:
        """Whether no row needs further candidates, or the whole vocabulary is compared."""
        return self.table is self.whole or all(one.done for one in self._sought)

    def draw(self, count: int) -> bool:
        """Draws the first tokens of each list that are not run yet; whether there are any."""
        lists = [one.listed[:count] for one in self._sought if not one.done]
        ranks = torch.cat([torch.arange(len(one)) for one in lists])
        tokens = torch.cat(lists)[ranks.argsort(stable=True)].tolist()
        held = set(() if self.table.tokens is None else self.table.tokens.tolist())
        new = [token for token in dict.fromkeys(tokens) if token not in held]
        new = new[: max(0, self._most - len(held))]
        if 2 * (len(held) + len(new)) > len(self.whole):
            self.table = self.whole
            return False
        self.drawn = torch.tensor(sorted(new), dtype=torch.long)
        return bool(new)

    def settle(self, count: int) -> None:
        """Notes which rows need no further candidates."""
        if self.table is self.whole:
            return
        full = len(self.table) >= self._most
        for channel in {id(one.channel): one.channel for one in self._sought}.values():
            open_ = [one for one in self._sought if one.channel is channel and not one.done]
            if open_:
                view = ChannelView(self.table, channel)
                away = view.nearest([one.prompt for one in open_], weighed=True).values.sqrt()
                reached = (away <= channel.reach_weighed(view.position)).sum(dim=1)
                apart = away[:, 0] <= _APART * away[:, -1]
                certain = ((reached == 1) | apart).tolist()
                for one, sure, near in zip(open_, certain, reached.tolist(), strict=True):
                    enough = one.enough <= count and near > 0
                    one.done = full or sure or enough or len(one.listed) <= count
