"""The beam attacker searches for the most likely whole prompt, with the model's own prior.

It keeps several prefixes, each with the log-likelihood of the released rows and the log-probability of
its text, so that a wrong token that was best at one position can be dropped at a later one. The
candidates of a position are a shortlist: the tokens that the lens ranks first for the row, and those
that the model expects after the prefix. A wider shortlist could recover more.

Source: Kale et al., "BeamClean: Language Aware Embedding Reconstruction", arXiv 2505.13758, there
on noisy embeddings; here on any layer, by the one-step map, with the law of the noise known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.lens_cache import lens_of
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable
from pytest_injectivity.prompts.known_tokens import known_tokens

WIDTH = 4
"""Default number of prefixes kept."""

SHORTLIST = 64
"""Default number of candidates from the lens, and from the prior."""


class BeamAttacker:
    """Answers with the most likely text that a beam search finds.

    Args:
        width: number of prefixes kept.
        shortlist: number of candidates from the lens and from the prior; the whole vocabulary is tried
            where it is no larger.
    """

    name = "beam"
    source = "BeamClean: Kale et al., arXiv 2505.13758"
    teacher_forced = False
    free_running = True
    remembers = False

    def __init__(self, width: int = WIDTH, shortlist: int = SHORTLIST) -> None:
        self.width = width
        self.shortlist = shortlist

    def fits(self, channel: Channel) -> bool:
        """Whether states are shown in order at every position."""
        return channel.shows_rows_in_order and channel.place.of_states

    def begin(self, setting: AttackSetting) -> "_BeamAttack":
        """Begins an attack that reads a whole prompt at its first position."""
        return _BeamAttack(setting, self.width, self.shortlist)


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    ids: tuple[int, ...]
    prefix: Prefix
    cost: float


class _BeamAttack(BaseAttack):
    compares = False

    def __init__(self, setting: AttackSetting, width: int, shortlist: int) -> None:
        self._setting = setting
        self._width = width
        self._shortlist = shortlist
        known = known_tokens(setting.decoder.tokenizer, setting.decoder.vocab_size)
        self._tokens: Int64[Tensor, " tokens"] = torch.from_numpy(known)
        self._read: dict[int, tuple[int, ...]] = {}
        # Calibrated as the attack begins, on the threads that attackers learn on.
        self._lens = self._of_large_vocabularies()

    def _of_large_vocabularies(self) -> Lens | None:
        """What shortlists tokens; None where all of them are tried."""
        if len(self._tokens) <= self._shortlist:
            return None
        setting = self._setting
        channel = setting.channel
        return lens_of(setting.decoder, channel.place.layer, channel.lengths, setting.seed)

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The tokens at this position of the texts found."""
        for prompt in prompts:
            if prompt not in self._read:
                self._read[prompt] = self._decode(prompt)
        return Guess.unverified(torch.tensor([self._read[one][view.position] for one in prompts]))

    def _decode(self, prompt: int) -> tuple[int, ...]:
        decoder, channel = self._setting.decoder, self._setting.channel
        none = torch.empty(0, dtype=torch.long)
        beam = [_Hypothesis((), decoder.prefix(none, channel.place.layer), 0.0)]
        listed = self._listed(prompt)
        for position, row in enumerate(channel.released[prompt]):
            grown = [one for held in beam for one in self._grown(held, row, listed[position])]
            kept = sorted(grown, key=itemgetter(0, 2))[: self._width]
            last = position + 1 == len(channel.released[prompt])
            beam = [
                _Hypothesis(
                    (*held.ids, token),
                    held.prefix if last else decoder.extend(held.prefix, torch.tensor([token])),
                    cost,
                )
                for cost, held, token in kept
            ]
        return beam[0].ids

    def _grown(
        self, held: _Hypothesis, row: Float[Tensor, " width"], listed: Int64[Tensor, " some"]
    ) -> list[tuple[float, _Hypothesis, int]]:
        """The best continuations of one prefix, as cost, prefix and token."""
        decoder, channel = self._setting.decoder, self._setting.channel
        table = OneStepTable(decoder, held.prefix, [channel.place])
        surprise = table.surprise
        tokens = listed
        if len(listed) < len(self._tokens):
            expected = table.expected(self._shortlist)
            tokens = torch.cat([listed, expected[~torch.isin(expected, listed)]])
        states = decoder.candidates(held.prefix, tokens, [channel.place.layer])
        images = channel.release.image(states[channel.place.layer])
        metric = channel.metric(len(held.ids))
        away = metric.whitened(images.double() - row.double()).square().sum(dim=1)
        costs = away / (2 * metric.variance) + surprise[tokens.to(surprise.device)]
        costs = torch.where(costs.isnan(), torch.inf, costs)
        best = costs.topk(min(self._width, len(tokens)), largest=False)
        return [
            (held.cost + cost, held, int(tokens[at]))
            for cost, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _listed(self, prompt: int) -> Int64[Tensor, "positions some"]:
        """The candidates of each position: the lens's, or the whole of a small vocabulary."""
        released = self._setting.channel.released[prompt]
        if self._lens is None:
            return self._tokens.expand(len(released), -1)
        positions = torch.arange(len(released), device=released.device)
        return self._lens.rank(self._lens.uncorrected(released, positions), self._shortlist)
