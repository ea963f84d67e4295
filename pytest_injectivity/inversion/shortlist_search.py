"""Settles one position of several prompts at once by growing shortlists of likely tokens.

Each shortlist is ranked by what the states computed for the last one show (`Lens.rank_behind`), and
is twice as long; at last the whole vocabulary is tested. From the second shortlist on, half of it is
what the model itself expects next: at deep layers the states of tokens that it expects are unlike what
the lens knows of them, and the two orders seldom fail together. The candidates of several prompts are
run in one pass behind their cached prefixes. Trying a single guess a pass instead, once or twice more,
took longer on every model measured.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.limits import InversionLimits
from pytest_injectivity.inversion.next_tokens import expected_tokens
from pytest_injectivity.inversion.partial_prompt import PartialPrompt
from pytest_injectivity.inversion.recovery import Work
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.inversion.verifiers import Ball
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix_buffer import PrefixBuffer

_GROWTH = 2
_BATCH_TOKENS = 4096
# The ranking of the next shortlist is learned from at most so many candidates tested, or so many
# times the width: with fewer than the width a map of all directions cannot be told.
_MOST_TOLD = 512
_TOLD_A_WIDTH = 4
# Beyond so many tokens the model's expectation says no more than the lens.
_MOST_EXPECTED = 2**12


class ShortlistSearch:
    """Tests shortlists behind cached prefixes until a candidate verifies.

    Args:
        decoder: the model.
        layer: the layer inverted.
        lens: ranks the candidates.
        ball: the verifier of the state at a position.
        classes: the candidates.
        work: counts the candidates run.
        limits: how long the first shortlist is, and among how many tokens the next are looked for.
    """

    def __init__(
        self,
        decoder: Decoder,
        layer: Layer,
        lens: Lens,
        ball: Callable[[int, Tensor], Ball],
        *,
        classes: TokenClasses,
        work: Work,
        limits: InversionLimits,
    ) -> None:
        self.decoder = decoder
        self.layer = layer
        self.lens = lens
        self.ball = ball
        self.classes = classes
        self.work = work
        self.limits = limits

    def settle(
        self, prompts: Sequence[PartialPrompt], prefixes: PrefixBuffer, stuck: Sequence[int]
    ) -> None:
        """Settles the next position of some prompts by shortlists, at last by the vocabulary.

        Args:
            prompts: all prompts that are inverted side by side.
            prefixes: their verified tokens, cached.
            stuck: indexes of the prompts whose next position is settled.
        """
        self._settle(prompts, prefixes, stuck, self.limits.shortlist)

    def _settle(
        self,
        prompts: Sequence[PartialPrompt],
        prefixes: PrefixBuffer,
        stuck: Sequence[int],
        size: int,
    ) -> None:
        """Settles prompts by shortlists from one of ``size`` tokens on.

        What was tested is held until a prompt is settled: where the states of all would take too much
        memory, half of the prompts are settled first.
        """
        vocab = len(self.classes)
        while stuck:
            held = len(stuck) * min(size, vocab) * self.decoder.hidden_size
            if len(stuck) > 1 and held > self.limits.held_states:
                middle = len(stuck) // 2
                self._settle(prompts, prefixes, stuck[:middle], size)
                self._settle(prompts, prefixes, stuck[middle:], size)
                return
            together = self.decoder.masks and size * _GROWTH <= _BATCH_TOKENS
            chunk = max(1, _BATCH_TOKENS // size) if together else 1
            untested = [at for at in stuck if len(prompts[at].tested) < vocab]
            self._expect([prompts[at] for at in untested])
            for start in range(0, len(untested), chunk):
                some = untested[start : start + chunk]
                self._test(prompts, prefixes, some, size, together=together)
            left = []
            for at in stuck:
                prompt = prompts[at]
                verifier = self.ball(prompt.at, prompt.states[prompt.at])
                tried = len(prompt.tested)
                if verifier.settles(prompt.tested.distances[-1]) or tried == vocab:
                    prompt.settle(prompt.tested.outcome(prompt.at, verifier, vocab, tried))
                else:
                    left.append(at)
            stuck, size = left, size * _GROWTH

    def _expect(self, prompts: Sequence[PartialPrompt]) -> None:
        """Asks the model what it expects where a shortlist of the lens's did not settle a position."""
        asked = [
            one
            for one in prompts
            if one.ids and one.expected is None and len(one.tested) > self.limits.shortlist
        ]
        prefixes = [one.ids for one in asked]
        for one, tokens in zip(
            asked, expected_tokens(self.decoder, prefixes, _MOST_EXPECTED), strict=True
        ):
            one.expected = tokens
        self.work.forwards += sum(map(len, prefixes))

    def _test(
        self,
        prompts: Sequence[PartialPrompt],
        prefixes: PrefixBuffer,
        stuck: Sequence[int],
        size: int,
        *,
        together: bool,
    ) -> None:
        """Tests the next ``size`` candidates of each prompt's next position."""
        lists = [self._shortlist(prompts[at], size) for at in stuck]
        width = min(map(len, lists))
        self.work.forwards += sum(map(len, lists))
        if together and width == max(map(len, lists)):
            found = self.decoder.continued(prefixes, stuck, torch.stack(lists), side_by_side=True)
            # One candidate's NaN is everyone's: then a row each.
            if found.states.isfinite().all():
                for at, tokens, states in zip(stuck, lists, found.states, strict=True):
                    prompts[at].tested.add(tokens, states)
                return
        for at, tokens in zip(stuck, lists, strict=True):
            prompt = prompts[at]
            prompt.tested.add(tokens, self.after(prefixes, at, prompt.at, tokens))

    def _shortlist(self, prompt: PartialPrompt, size: int) -> Int[Tensor, " candidates"]:
        """The most likely tokens not tested yet; all of them where few would be left."""
        tested = torch.cat(prompt.tested.tokens)
        untested = self.classes.searched.clone()
        untested[tested] = False
        if size * 2 >= len(self.classes) - len(tested):
            return untested.nonzero()[:, 0]
        expected = tested[:0] if prompt.expected is None else prompt.expected
        expected = expected[untested[expected]][: size // 2]
        untested[expected] = False
        likely = self._ranked(prompt, tested, size + len(tested))
        likely = torch.cat([expected, likely[untested[likely]][: size - len(expected)]])
        if len(likely) == size:
            return likely
        # What is not finite ranks nothing: any candidates do.
        untested[likely] = False
        return torch.cat([likely, untested.nonzero()[: size - len(likely), 0]])

    def _ranked(
        self, prompt: PartialPrompt, tested: Int[Tensor, " tested"], count: int
    ) -> Int[Tensor, " count"]:
        """What the lens finds likely, tokens tested among them."""
        if len(tested) == 1:
            return self.lens.rank(prompt.queries[prompt.at][None], count)[0]
        pool = max(self.limits.pool, self.limits.pool_times * count)
        # The nearest say most of the truth; a kernel of all would outgrow the memory.
        most = max(_MOST_TOLD, _TOLD_A_WIDTH * self.decoder.hidden_size)
        nearest = torch.cat(prompt.tested.distances).argsort()[:most]
        computed = torch.cat(prompt.tested.states)
        told = computed[nearest.to(computed.device)]
        return self.lens.rank_behind(
            prompt.states[prompt.at], tested[nearest], told, count, pool=pool
        )

    def after(
        self, prefixes: PrefixBuffer, at: int, position: int, tokens: Int[Tensor, " candidates"]
    ) -> Float[Tensor, "candidates hidden"]:
        """The one-step map after the verified beginning of one prompt."""
        prefix = self.decoder.alone(prefixes, at, position)
        return self.decoder.candidates(prefix, tokens, [self.layer])[self.layer]
