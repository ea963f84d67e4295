"""The pairs inverter knows no weights: it learns from known prompts and what was released of each.

It has token ids and released rows, and runs no model: it has neither embedding rows nor next-token
probabilities. From pairs it learns how likely a row is of each token that they have, by kernel ridge
regression (`search.kernel_ridge`), and it names no other token. Where rows are shown at every position,
each is read by itself; position 0 is learned apart, because attention sinks are like no other rows.
Where one row is shown of each prompt, the token at each distance from the end is read from it.

Who may ask an interface for embeddings has such pairs, whatever is secret of the model and the release.

Source: inversion learned from auxiliary pairs, Song and Raghunathan, "Information Leakage in Embedding
Models" (arXiv 2004.00053), there with a network.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.core.threads import on_threads
from pytest_injectivity.privacy.attackers.base import AttackSetting, LookedUp
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.kernel_ridge import FEWEST, KernelRidge

# The time grows with the cube of the pairs: so many take a second.
_MOST = 3000


class PairsInverterAttacker:
    """Answers with the token of the known prompts that rows like this one have.

    Args:
        most: the most rows that are learned from.
    """

    name = "pairs inverter"
    source = "inversion from pairs: Song and Raghunathan, arXiv 2004.00053; kernel ridge"
    teacher_forced = True
    free_running = False
    remembers = False

    def __init__(self, most: int = _MOST) -> None:
        self.most = most

    def fits(self, channel: Channel) -> bool:
        """Whether prompts as long are known, and rows are shown in order or one of each prompt."""
        known, place = channel.known, channel.place
        return (
            len(known) >= FEWEST
            and channel.release.ordered
            and (place.everywhere or place.one_row)
            and max(channel.lengths) <= len(known.prompts[0])
        )

    def begin(self, setting: AttackSetting) -> LookedUp:
        """Learns from the pairs, and answers all positions at once; the setting's model is not used."""
        channel = setting.channel
        # Short operations, which a second thread makes slower.
        with on_threads(1):
            read = self._read_one_row if channel.place.one_row else self._read_rows
            return LookedUp(channel, read(channel))

    def _read_rows(self, channel: Channel) -> Int64[Tensor, " positions"]:
        """The tokens of rows at every position."""
        rows, tokens = channel.known.stacked
        first = self._read(
            rows[:, 0], tokens[:, 0], torch.stack([one[0] for one in channel.released])
        )
        if rows.shape[1] == 1:
            return first
        later = self._read(
            rows[:, 1:].flatten(0, 1),
            tokens[:, 1:].flatten(),
            torch.cat([one[1:] for one in channel.released]),
        )
        parts = zip(
            first, torch.split(later, [length - 1 for length in channel.lengths]), strict=True
        )
        return torch.cat([torch.cat([one[None], rest]) for one, rest in parts])

    def _read_one_row(self, channel: Channel) -> Int64[Tensor, " positions"]:
        """The tokens of whole prompts, each from its one row."""
        rows, tokens = torch.cat(channel.known.rows), torch.tensor(channel.known.prompts)
        released = torch.cat(channel.released)
        every = torch.stack([self._read(rows, own, released) for own in tokens.T], dim=1)
        return torch.cat(
            [one[-length:] for one, length in zip(every, channel.lengths, strict=True)]
        )

    def _read(
        self,
        rows: Float[Tensor, "pairs width"],
        tokens: Int64[Tensor, " pairs"],
        released: Float[Tensor, "rows width"],
    ) -> Int64[Tensor, " rows"]:
        """The token of each released row, learned from rows whose tokens are known."""
        draw = torch.Generator().manual_seed(0)
        kept = torch.randperm(len(rows), generator=draw)[: self.most]
        named, places = tokens[kept].unique(return_inverse=True)  # type: ignore[no-untyped-call] # no types
        targets = one_hot(places).double().to(rows.device)
        ridge = KernelRidge.of(rows[kept.to(rows.device)], targets)
        answers: Tensor = named[ridge(released).argmax(dim=1).cpu()]
        return answers
