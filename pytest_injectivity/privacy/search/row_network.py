"""A small network from a released row and its neighbors to scores of tokens, trained on examples.

The network has one hidden layer and names an embedding row; the product with the rows of all tokens are
their scores, so tokens without examples are scored too. While it is trained it tells the tokens of the
examples from some others, not from the whole vocabulary: the cost does not grow with that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from pytest_injectivity.core.shapes import Float, Int64

_HIDDEN = 256
_STEPS = 80
_ROWS_A_STEP = 128
_RATE = 4e-3
_DECAY = 0.01
_DROPPED = 0.4
# Steps between two looks at the held-out examples, and looks without a gain that end the training.
_LOOK = 20
_PATIENCE = 3
# Tokens without examples that those with examples are told from.
_OTHERS = 512
# Standardized coordinates beyond this are outliers, which would drown the others.
_FARTHEST = 8.0


@dataclass(frozen=True, eq=False)
class RowFeatures:
    """Makes inputs of a network from the released rows of a prompt: each row with its two neighbors.

    Attributes:
        means: of the rows of position 0, and of all others.
        scales: standard deviations of the same.
    """

    means: Float[Tensor, "2 width"]
    scales: Float[Tensor, "2 width"]

    @classmethod
    def of(cls, rows: Float[Tensor, "examples length width"]) -> "RowFeatures":
        """The features of rows like these."""
        parts = [rows[:, :1].flatten(0, 1), rows[:, 1:].flatten(0, 1)]
        # Prompts of one token have no later rows.
        parts = [one if len(one) else parts[0] for one in parts]
        means = torch.stack([one.mean(dim=0) for one in parts])
        spread = [(one - one.mean(dim=0)).square().mean(dim=0).sqrt() for one in parts]
        scales = torch.stack(spread)
        # A coordinate that never changes says nothing.
        return cls(means, torch.where(scales > 0, scales, torch.inf))

    def __call__(
        self, rows: Float[Tensor, "prompts length width"]
    ) -> Float[Tensor, "prompts length features"]:
        """The features of each position."""
        kind = (torch.arange(rows.shape[1]) > 0).long()
        standard = (rows.float() - self.means[kind]) / self.scales[kind]
        standard = standard.nan_to_num().clamp(-_FARTHEST, _FARTHEST)
        around = pad(standard, (0, 0, 1, 1))
        return torch.cat([around[:, :-2], standard, around[:, 2:]], dim=2)


@dataclass(frozen=True, eq=False)
class TokenKeys:
    """Some tokens and what their scores are made with, for many calls of a network.

    Attributes:
        tokens: the tokens that are scored.
        columns: what is compared with what the network names, a column a token.
    """

    tokens: Int64[Tensor, " scored"]
    columns: Float[Tensor, "embedding scored"]


class RowNetwork(nn.Module):
    """Scores tokens for the features of a released row.

    Args:
        features: how many.
        keys: a row for each token; what the network names is compared with them.
    """

    def __init__(self, features: int, keys: Float[Tensor, "vocab embedding"]) -> None:
        super().__init__()
        self.keys = keys / keys.shape[1] ** 0.5
        self.bent = nn.Sequential(
            nn.Dropout(_DROPPED),
            nn.Linear(features, _HIDDEN),
            nn.GELU(),
            nn.Dropout(_DROPPED),
            nn.Linear(_HIDDEN, keys.shape[1]),
        )
        self.straight = nn.Linear(features, keys.shape[1], bias=False)
        nn.init.zeros_(self.straight.weight)
        self.bias = nn.Parameter(torch.zeros(len(keys)))

    def keys_of(self, tokens: Int64[Tensor, " scored"]) -> TokenKeys:
        """What the scores of some tokens are made with; gathered once, because that takes as long."""
        return TokenKeys(tokens, self.keys[tokens].T.contiguous())

    def forward(
        self, features: Float[Tensor, "rows features"], among: TokenKeys
    ) -> Float[Tensor, "rows scored"]:
        """The scores of some tokens."""
        named = self.bent(features) + self.straight(features)
        scores: Tensor = named @ among.columns + self.bias[among.tokens]
        return scores


def told_apart(
    tokens: Int64[Tensor, "..."], usable: Int64[Tensor, " usable"], seed: int
) -> Int64[Tensor, " tokens"]:
    """The tokens that a network learns to tell apart: those of the examples and some others."""
    draw = torch.Generator().manual_seed(seed)
    others = usable[torch.randperm(len(usable), generator=draw)[:_OTHERS]]
    both = torch.cat([tokens.flatten().cpu(), others])
    told: Tensor = both.unique()  # type: ignore[no-untyped-call] # torch has no types for it
    return told


def train(
    network: RowNetwork,
    learned: tuple[Float[Tensor, "rows features"], Int64[Tensor, " rows"]],
    held_out: tuple[Float[Tensor, "held features"], Int64[Tensor, " held"]],
    told: TokenKeys,
    seed: int,
) -> None:
    """Trains a network with Adam, and leaves it as it was when held-out rows were read best.

    Args:
        network: is changed.
        learned: features of rows and the places of their tokens among ``told``.
        held_out: the same of rows that nothing is learned from.
        told: the tokens that are told apart.
        seed: of the order in which rows are learned.
    """
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY, fused=True)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * _RATE, total_steps=_STEPS)
    least, kept, waited = float("inf"), network.state_dict(), 0
    for step in range(1, _STEPS + 1):
        some = torch.randint(len(learned[0]), (_ROWS_A_STEP,), generator=draw)
        loss = cross_entropy(network(learned[0][some], told), learned[1][some])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch has no types for it
        optimizer.step()
        rates.step()
        if step % _LOOK:
            continue
        lost = float(_held_out_loss(network, *held_out, told))
        if lost < least:
            least, waited = lost, 0
            kept = {name: value.clone() for name, value in network.state_dict().items()}
        else:
            waited += 1
        if waited == _PATIENCE:
            break
    network.load_state_dict(kept)
    network.eval()


@torch.no_grad()
def _held_out_loss(
    network: RowNetwork,
    features: Float[Tensor, "held features"],
    places: Int64[Tensor, " held"],
    told: TokenKeys,
) -> Tensor:
    network.eval()
    loss = cross_entropy(network(features, told), places)
    network.train()
    return loss
