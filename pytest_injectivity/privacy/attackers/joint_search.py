"""The joint search attacker reads positions that were not released, from the next released row.

A row at every second position, or of the last token alone, still depends on every token before it, and
so does the mean of all. The tokens of a gap are searched together. Few combinations are all tried. Of
many, coordinate descent varies one token of the gap at a time, over a shortlist or the whole vocabulary,
from several starting points; shortlists come from the model's own next-token probabilities. The descent
may end in a local minimum, so that a longer search could recover more.

Source: the one-step map inverts one unknown token (Nikolaou et al., arXiv 2510.15511); embeddings
of whole texts are inverted by generating and comparing again (Morris et al., "Text Embeddings
Reveal (Almost) As Much As Text", arXiv 2310.06816). Coordinate descent with exact comparison is
this package's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.mahalanobis import MahalanobisMetric
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable
from pytest_injectivity.prompts.known_tokens import known_tokens

LONGEST_GAP = 3
"""The most tokens that are searched together."""

EXHAUSTIVE = 2**15
"""Default of the most combinations that are all tried."""

# Sequences kept.
_KEPT = 16
# How many sequences are varied, and over a shortlist of which length (None: the vocabulary), one pair
# after the other until a sequence is within reach of the row.
_ROUNDS: tuple[tuple[int, int | None], ...] = ((4, 256), (2, None), (8, None))
# Sequences of one pass.
_TOGETHER = 256


class JointSearchAttacker:
    """Searches the tokens between released rows together.

    Args:
        exhaustive: the most combinations that are all tried.
    """

    name = "joint search"
    source = "this package, on the one-step map of arXiv 2510.15511"
    teacher_forced = True
    free_running = True
    remembers = False

    def __init__(self, exhaustive: int = EXHAUSTIVE) -> None:
        self.exhaustive = exhaustive

    def fits(self, channel: Channel) -> bool:
        """Whether states are shown in order at some positions, with short gaps between them."""
        place = channel.place
        if (
            place.everywhere
            or not place.of_states
            or place.answer
            or channel.hides_matrix
            or not channel.release.ordered
        ):
            return False
        return max(map(place.gap, channel.lengths)) <= LONGEST_GAP

    def begin(self, setting: AttackSetting) -> "_JointSearchAttack":
        """Begins an attack that searches a gap at its first position."""
        return _JointSearchAttack(setting, self.exhaustive)


class _JointSearchAttack(BaseAttack):
    compares = False

    def __init__(self, setting: AttackSetting, exhaustive: int) -> None:
        self._setting = setting
        self._exhaustive = exhaustive
        # By prompt and position, the token and whether its row is within reach.
        self._found: dict[tuple[int, int], tuple[int, bool]] = {}

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The token at this position of the gap found."""
        at = view.position
        for prompt in prompts:
            if (prompt, at) not in self._found:
                tokens, sure = self._searched(view.table.prefix, prompt)
                for further, token in enumerate(tokens):
                    self._found[prompt, at + further] = token, sure
        answers, verified = zip(*(self._found[one, at] for one in prompts), strict=True)
        return Guess(torch.tensor(answers), torch.tensor(verified))

    def _searched(self, prefix: Prefix, prompt: int) -> tuple[list[int], bool]:
        channel, begun = self._setting.channel, len(prefix)
        positions = channel.positions(prompt)
        row = next(at for at, position in enumerate(positions) if position >= begun)
        size = positions[row] - begun + 1
        target = channel.released[prompt][row]
        return GapSearch(self._setting, prefix, target, size, self._exhaustive).found()


class GapSearch:
    """Finds the tokens of one gap from the released row of the last of them.

    Args:
        setting: the attacker's model, and what it knows.
        prefix: the tokens before the gap.
        target: the released row.
        size: number of tokens of the gap.
        exhaustive: the most combinations that are all tried.
    """

    def __init__(
        self,
        setting: AttackSetting,
        prefix: Prefix,
        target: Float[Tensor, " width"],
        size: int,
        exhaustive: int,
    ) -> None:
        self._decoder: Decoder = setting.decoder
        self._channel = setting.channel
        self._prefix = prefix
        self._target = target
        self._size = size
        self._exhaustive = exhaustive
        self._position = len(prefix) + size - 1
        known = known_tokens(self._decoder.tokenizer, self._decoder.vocab_size)
        self._tokens: Int64[Tensor, " tokens"] = torch.from_numpy(known)
        self._metric: MahalanobisMetric = setting.channel.metric(self._position)
        empty = torch.empty(0, size, dtype=torch.long)
        self._kept: Int64[Tensor, "kept size"] = empty
        self._costs: Float64[Tensor, " kept"] = torch.empty(0, dtype=torch.float64)

    def found(self) -> tuple[list[int], bool]:
        """The tokens found, and whether their row is within reach of the released one."""
        vocab = len(self._tokens)
        if vocab**self._size <= self._exhaustive:
            every = torch.cartesian_prod(*[self._tokens] * self._size)
            self._keep(every.reshape(-1, self._size))
        else:
            self._keep(self._beginning()[None])
            for width, listed in _ROUNDS:
                if self._settle(width, listed):
                    break
        return self._kept[0].tolist(), self._within_reach()

    def _settle(self, width: int, listed: int | None) -> bool:
        """Varies one token after the other until nothing improves; whether the row was reached."""
        while True:
            before = float(self._costs[0])
            for at in reversed(range(self._size)):
                tried = [self._varied(one, at, listed) for one in self._kept[:width]]
                self._keep(torch.cat(tried))
                if self._within_reach():
                    return True
            if not self._costs[0] < before:
                return False

    def _beginning(self) -> Int64[Tensor, " size"]:
        """The text that the model expects, token by token; token 0 where nothing comes before."""
        ids: list[int] = []
        for _ in range(self._size):
            ids.append(int(self._expected(ids, 1)))
        return torch.tensor(ids)

    def _varied(
        self, held: Int64[Tensor, " size"], at: int, listed: int | None
    ) -> Int64[Tensor, "tried size"]:
        """A sequence with one token replaced by every token, or by those expected at its place."""
        before = held[:at].tolist()
        if listed is None or at + 1 == self._size or not len(self._prefix) + at:
            tokens = self._tokens
        else:
            tokens = self._expected(before, min(listed, len(self._tokens)))
        tried = held.expand(len(tokens), -1).clone()
        tried[:, at] = tokens
        return tried

    def _expected(self, ids: Sequence[int], count: int) -> Int64[Tensor, " count"]:
        longer = self._decoder.extend(self._prefix, torch.tensor(ids, dtype=torch.long))
        return OneStepTable(self._decoder, longer, [self._channel.place]).expected(count)

    def _keep(self, tried: Int64[Tensor, "tried size"]) -> None:
        """Keeps the best of the sequences kept and tried, none of them twice."""
        parts = torch.split(tried, _TOGETHER)
        costs = torch.cat([self._costs, *(self._cost(some) for some in parts)])
        every = torch.cat([self._kept, tried])
        best = costs.argsort(stable=True)[: 4 * _KEPT].tolist()
        distinct = list({tuple(every[one].tolist()): one for one in reversed(best)}.values())
        chosen = sorted(distinct, key=best.index)[:_KEPT]
        self._kept, self._costs = every[chosen], costs[chosen]

    def _cost(self, tried: Int64[Tensor, "tried size"]) -> Float64[Tensor, " tried"]:
        away = self._metric.whitened(self._differences(tried)).square().sum(dim=1).cpu()
        return torch.where(away.isnan(), torch.inf, away)

    def _differences(self, tried: Int64[Tensor, "tried size"]) -> Float64[Tensor, "tried width"]:
        states = self._states(tried)
        return self._channel.release.image(states).double() - self._target.double()

    def _states(self, tried: Int64[Tensor, "tried size"]) -> Float[Tensor, "tried width"]:
        layer = self._channel.place.layer
        if self._channel.place.mean:
            before = self._prefix.ids.cpu().expand(len(tried), -1)
            return self._decoder.states(torch.cat([before, tried], dim=1), [layer])[layer].mean(1)
        last = torch.full((len(tried),), self._size - 1)
        return self._decoder.states(tried, [layer], positions=last, prefix=self._prefix)[layer]

    def _within_reach(self) -> bool:
        away = torch.linalg.vector_norm(self._differences(self._kept[:1]), dim=1)
        return bool(away <= self._channel.reach(self._position))
