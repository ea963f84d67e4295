"""What an attacker is: given released rows and the model's weights, it names the tokens of prompts.

An `Attacker` is a published method. On a channel (a release at a place) it begins an `Attack`, which is
shown one position after the other with the tokens before it, and answers with a token or with none.
An attack does not choose these tokens: along the truth they are the prompt's (teacher-forced), else
they are the attack's own answers (free-running). The schedule decides which.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float64, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.examples import Examples, observe_together
from pytest_injectivity.privacy.search.channel import Channel, ChannelView

NO_TOKEN = -1
"""Stands in `Guess.tokens` for no answer."""

Ranks: TypeAlias = Callable[[Int64[Tensor, " prompts"]], Int64[Tensor, " prompts"]]
"""From one token a prompt to its place in the order in which an attack would name tokens; 1 is first."""


@dataclass(frozen=True, eq=False)
class Guess:
    """The answers of an attack at one position.

    Attributes:
        tokens: one token a prompt, `NO_TOKEN` for no answer.
        verified: the answers that the attacker vouches for: within reach, and no other token is.
        ranks: the order of all tokens that were compared, the answer first; None: there is no such
            order. Whoever judges asks for the place of the true token, when the answer is given.
    """

    tokens: Int64[Tensor, " prompts"]
    verified: Bool[Tensor, " prompts"]
    ranks: Ranks | None = None

    @classmethod
    def unverified(cls, tokens: Int64[Tensor, " prompts"], ranks: Ranks | None = None) -> "Guess":
        """Answers that the attacker does not vouch for."""
        return cls(tokens, torch.zeros_like(tokens, dtype=torch.bool), ranks)

    @classmethod
    def of_scores(cls, scores: Float[Tensor, "prompts vocab"], view: ChannelView) -> "Guess":
        """The candidates of the largest scores, which the attacker does not vouch for.

        Args:
            scores: of each candidate for each prompt; NaN is the least.
            view: says which candidates were looked at.
        """
        scores = scores.nan_to_num(nan=-torch.inf)
        if view.candidates.found is not None:
            scores = scores.masked_fill(~view.candidates.found, -torch.inf)
        return cls.unverified(scores.argmax(dim=1), partial(ranks_of, scores))


@dataclass(frozen=True, eq=False)
class AttackSetting:
    """What an attack begins with.

    Attributes:
        decoder: the attacker's own model.
        channel: the released rows, and what is known of the release.
        teacher_forced: whether the true tokens stand before each position; else the attack's answers do.
        seed: seed of whatever the attack draws.
    """

    decoder: Decoder
    channel: Channel
    teacher_forced: bool
    seed: int

    def images(self, examples: Examples) -> Float64[Tensor, "pairs width"]:
        """What the release makes of the rows of examples without its secret, one under the other."""
        place, own = self.channel.place, examples.own
        if own is None:
            own = observe_together(self.decoder, [place], examples.prompts)[place].rows
        images = [self.channel.release.image(rows) for rows in own]
        return torch.cat(images).to(examples.rows[0].device).double()


@runtime_checkable
class Attack(Protocol):
    """One attacker on one channel, from the first position to the last.

    Attributes:
        compares: whether the attack compares rows with the images of candidates at every position; the
            schedule then computes the images before it takes the attack's time.
        prunes: whether likely candidates are enough, where `compares`: the attack keeps nothing of what
            it looks at, and a further candidate can only take the place of its answer. So it would
            answer the true token among all candidates only if it does among some and the true one.
            Attacks that need the whole vocabulary look at `ChannelView.whole`.
    """

    compares: bool
    prunes: bool

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """Names the tokens at the view's position, for prompts that share the view's prefix."""
        ...

    def follow(self, view: ChannelView, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Is told the token of each prompt at the view's position: the true one, or its own answer."""
        ...

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:
        """The final answer for a whole prompt, given the answers at its positions."""
        ...


@runtime_checkable
class Attacker(Protocol):
    """A published method of reading prompts from released rows.

    Attributes:
        name: name in reports.
        source: where the method was published.
        teacher_forced: whether it is run with the true tokens before each position.
        free_running: whether it is run with its own answers before each position.
        remembers: whether its attack learns from every prompt for those that it reads later.
    """

    name: str
    source: str
    teacher_forced: bool
    free_running: bool
    remembers: bool

    def fits(self, channel: Channel) -> bool:
        """Whether the method is made for such a release and place."""
        ...

    def begin(self, setting: AttackSetting) -> Attack:
        """Begins an attack on one channel."""
        ...


class BaseAttack:
    """An attack that learns nothing from the tokens it is told and keeps its answers."""

    compares = True
    prunes = False

    def follow(self, view: ChannelView, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Ignores the tokens."""

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:  # noqa: ARG002 - the protocol's
        """The answers as they were given."""
        return tokens


class PositionwiseAttacker(BaseAttack, ABC):
    """An attacker that answers each position by itself and keeps no state: it is its own attack."""

    teacher_forced = True
    free_running = False
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order at every position."""
        return channel.shows_rows_in_order

    @abstractmethod
    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """See `Attack`."""

    def begin(self, setting: AttackSetting) -> Attack:  # noqa: ARG002 - the protocol's
        """The attacker itself."""
        return self


class LookedUp(BaseAttack):
    """An attack whose answers are known from the beginning.

    Args:
        channel: the channel attacked.
        tokens: the answers for all positions of all prompts, in order.
        scores: of a prompt and a position the score of every token, the highest first; None: tokens are
            not ordered.
    """

    compares = False

    def __init__(
        self,
        channel: Channel,
        tokens: Int64[Tensor, " positions"],
        scores: Callable[[int, int], Float[Tensor, " vocab"]] | None = None,
    ) -> None:
        self._tokens = torch.split(tokens, list(channel.lengths))
        self._scores = scores

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The answers at this position."""
        answers = torch.stack([self._tokens[one][view.position] for one in prompts])
        if (scores := self._scores) is None:
            return Guess.unverified(answers)

        def ranks(tokens: Int64[Tensor, " prompts"]) -> Int64[Tensor, " prompts"]:
            # Scores of all positions at once would need memory for each prompt.
            found = [
                ranks_of(scores(one, view.position)[None], token[None])
                for one, token in zip(prompts, tokens, strict=True)
            ]
            return torch.cat(found)

        return Guess.unverified(answers, ranks)


def ranks_of(
    scores: Float[Tensor, "prompts vocab"], tokens: Int64[Tensor, " prompts"]
) -> Int64[Tensor, " prompts"]:
    """The place of one token a row among all, the highest score first and equal ones by token id."""
    tokens = tokens.to(scores.device)[:, None]
    own = scores.gather(1, tokens)
    even = (scores == own) & (torch.arange(scores.shape[1], device=scores.device) < tokens)
    return ((scores > own) | even).sum(dim=1) + 1
