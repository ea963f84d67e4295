"""Prompts together with what was released of them: what an attacker learns from.

There are two kinds. An attacker who knows the release **practises**: it releases texts of its own with
draws of its own, as many as it likes, and learns to read those. It cannot practise a secret that all
prompts share, such as the matrix of a rotation. Of these it may **know** some prompts of the sender's
together with what the sender released of them (known plaintext), under the secret that hides the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.observed import (
    Observed,
    observe_place,
    read_tokens,
    rows_of_states,
    seen_of_states,
    shown_rows,
)
from pytest_injectivity.privacy.releases.protocol import Release

# Tokens of one pass over prompts of practice.
_BATCH_TOKENS = 2048
# An attacker's draws are never the sender's, whatever the sender's seed is.
_OWN_DRAWS = 2**32


@dataclass(frozen=True, eq=False)
class Examples:
    """Prompts and what was released of each.

    Attributes:
        prompts: the token ids of each prompt.
        rows: the released rows of each prompt, in the order in which they were sent.
        own: the rows that the attacker's model computes of each prompt; None: it has not run them.
    """

    prompts: tuple[tuple[int, ...], ...] = field(repr=False)
    rows: tuple[Float[Tensor, "_positions width"], ...] = field(repr=False)
    own: tuple[Float[Tensor, "_positions width"], ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.prompts)

    def to(self, device: torch.device) -> "Examples":
        """The same with the rows on a device."""
        return replace(self, rows=tuple(rows.to(device) for rows in self.rows))

    @cached_property
    def stacked(
        self,
    ) -> tuple[Float[Tensor, "prompts positions width"], Int64[Tensor, "prompts positions"]]:
        """The rows and the tokens of all prompts, which are of one length; the tokens on the CPU."""
        return torch.stack(self.rows), torch.tensor(self.prompts)


NO_EXAMPLES = Examples((), ())
"""What an attacker has who learns from nothing."""


def practised(release: Release, observed: Observed | None, seed: int) -> Examples:
    """What an attacker makes by releasing prompts of its own; nothing where a secret is shared.

    Args:
        release: the release attacked.
        observed: the attacker's prompts, run through its own model; None: it does not practise.
        seed: seed of its draws, which are others than the sender's of the same seed.
    """
    if observed is None or release.secret.is_shared:
        return NO_EXAMPLES
    released = observed.released(release, seed + _OWN_DRAWS)
    return Examples(observed.prompts, released, own=observed.rows)


def known_beforehand(release: Release, observed: Observed | None, seed: int) -> Examples:
    """What the sender released of prompts that an attacker knows.

    Args:
        release: the release attacked.
        observed: the known prompts, run through the sender's model; None: none is known.
        seed: seed of the sender's draws.
    """
    if observed is None:
        return NO_EXAMPLES
    return Examples(observed.prompts, observed.released(release, seed))


def observe_together(
    decoder: Decoder, places: Sequence[Place], prompts: Sequence[Sequence[int]]
) -> dict[Place, Observed]:
    """What prompts of one length give away at several places; the states of all come from one pass.

    Args:
        decoder: the model.
        places: what is observed; layers count from the first.
        prompts: the token ids of each prompt, all of one length.
    """
    kept = tuple(tuple(map(int, ids)) for ids in prompts)
    plain = [place for place in places if place.from_states]
    found = {place: observe_place(decoder, place, kept) for place in places if place not in plain}
    for answer in (False, True):
        some = [place for place in plain if place.answer is answer]
        if some:
            found |= _observe_states(decoder, some, kept)
    return found


def _observe_states(
    decoder: Decoder, places: Sequence[Place], prompts: tuple[tuple[int, ...], ...]
) -> dict[Place, Observed]:
    """What prompts give away at places that are all of their own tokens, or all of their answers'."""
    layers = tuple(dict.fromkeys(layer for place in places for layer in place.layers))
    length = len(prompts[0])
    together = max(1, _BATCH_TOKENS // length)
    parts: list[dict[Layer, Tensor]] = []
    for start in range(0, len(prompts), together):
        ids = torch.tensor(prompts[start : start + together])
        whole, first = read_tokens(decoder, places[0], ids)
        states = decoder.states(whole, layers)
        parts.append({layer: own[:, first:] for layer, own in states.items()})
    found = {}
    for place in places:
        at = slice(None) if place.averaged else list(place.positions(length))
        seen = seen_of_states(decoder, place)
        shown = {layer: torch.cat([part[layer][:, at] for part in parts]) for layer in place.layers}
        rows = tuple(
            rows_of_states(place, seen, {layer: own[prompt] for layer, own in shown.items()})
            for prompt in range(len(prompts))
        )
        if place.averaged:
            rows = tuple(shown_rows(place, own) for own in rows)
        side = rows[0].shape[1] // len(place.layers)
        found[place] = Observed(place, prompts, rows, (side,) * len(place.layers))
    return found


def refuse_shared(
    learned: Sequence[Sequence[int]], read: Sequence[Sequence[int]], what: str
) -> None:
    """Refuses examples among which is a prompt that is read: whoever learned it has not read it.

    Args:
        learned: the prompts of the examples.
        read: the prompts that attacks are judged by.
        what: what the examples are, for the message.

    Raises:
        OptionError: a prompt is in both.
    """
    tested = {tuple(ids): at for at, ids in enumerate(read)}
    shared = [tested[tuple(ids)] for ids in learned if tuple(ids) in tested]
    if shared:
        raise OptionError(
            f"{len(shared)} of {len(learned)} prompts {what} are prompts that attacks are judged by, the"
            f" first one prompt {shared[0]}: give prompts that are not read"
        )
