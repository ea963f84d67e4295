"""The tokens of a vocabulary that a model can tell apart: classes of equal embedding rows.

Two tokens whose rows of the input embedding are equal (twins) have equal states at every layer, after
every prompt: no search can tell them apart. One of each class stands for all where candidates are tested
or compared, and the twins are named once. Rows of the embedding that no token of the tokenizer has pad
the matrix to a round number, stand in no text and are often all alike; they are left out and counted.
Without a tokenizer every row counts as a token.

Equal means equal in every coordinate of what the model feeds its first block of a token, in its own
dtype, with ``-0.0 == 0.0``. Rows with a NaN or an infinity are equal to none.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Int64
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.known_tokens import known_tokens


@dataclass(frozen=True, eq=False)
class TokenClasses:
    """The classes of a vocabulary's tokens with equal embedding rows.

    Attributes:
        rows: of the embedding, those of no token included.
        known: token ids that the tokenizer has, ascending.
        twins: the classes of two or more tokens: their ids, ascending.

    Example:
        >>> table = torch.tensor([[1.0], [2.0], [1.0], [0.0]])
        >>> classes = TokenClasses.of(table, np.arange(3))
        >>> classes.tokens.tolist(), classes.twins_of(2), classes.left_out
        ([0, 1], (0,), 1)
    """

    rows: int
    known: Int64[np.ndarray, " known"]
    twins: tuple[Int64[np.ndarray, " _members"], ...]

    @classmethod
    def of(
        cls, table: Float[Tensor, "vocab hidden"], known: Int64[np.ndarray, " known"]
    ) -> "TokenClasses":
        """Finds the classes among the rows of an embedding.

        Args:
            table: a row for each token, as the model feeds it to its first block.
            known: the token ids that the tokenizer has, ascending.
        """
        rows = table[torch.tensor(known).to(table.device)]
        finite = rows.isfinite().all(dim=1)
        ids = known[finite.cpu().numpy()]
        equal = EqualRows.of(rows if bool(finite.all()) else rows[finite])
        classes = sorted((ids[members] for members in equal.classes), key=lambda one: int(one[0]))
        return cls(len(table), known, tuple(classes))

    def __len__(self) -> int:
        """How many classes: the candidates of one position."""
        return len(self.tokens)

    @cached_property
    def tokens(self) -> Int64[Tensor, " classes"]:
        """The smallest id of each class, ascending."""
        # What the store reads is not writable, which torch would warn of.
        return torch.from_numpy(np.setdiff1d(self.known, self._copies))

    @cached_property
    def searched(self) -> Bool[Tensor, " vocab"]:
        """Which rows of the embedding stand for a class."""
        mask = torch.zeros(self.rows, dtype=torch.bool)
        mask[self.tokens] = True
        return mask

    @cached_property
    def representative(self) -> Int64[Tensor, " vocab"]:
        """For each row of the embedding the smallest id of its class; for padding the first class."""
        first = torch.arange(self.rows)
        for members in self.twins:
            first[torch.tensor(members)] = int(members[0])
        return torch.where(self.searched[first], first, self.tokens[:1].sum())

    @property
    def left_out(self) -> int:
        """Rows of the embedding that no token has."""
        return self.rows - len(self.known)

    @property
    def pairs(self) -> int:
        """Unordered pairs of twins."""
        return sum(len(members) * (len(members) - 1) // 2 for members in self.twins)

    @property
    def copied(self) -> int:
        """Tokens that have a twin."""
        return sum(map(len, self.twins))

    def has(self, token: int) -> bool:
        """Whether this row of the embedding is a token's."""
        at = int(np.searchsorted(self.known, token))
        return at < len(self.known) and int(self.known[at]) == token

    def twins_of(self, token: int) -> tuple[int, ...]:
        """The other tokens with this token's embedding row, ascending."""
        members = self._class_of.get(token, ())
        return tuple(one for one in members if one != token)

    @cached_property
    def _class_of(self) -> dict[int, tuple[int, ...]]:
        classes = [tuple(members.tolist()) for members in self.twins]
        return {token: members for members in classes for token in members}

    @property
    def _copies(self) -> Int64[np.ndarray, " copies"]:
        none = np.zeros(0, dtype=np.int64)
        return np.concatenate([none, *(members[1:] for members in self.twins)])


def token_classes(decoder: Decoder) -> TokenClasses:
    """The classes of a model's tokens."""
    known = known_tokens(decoder.tokenizer, decoder.vocab_size)
    return TokenClasses.of(decoder.embedding_matrix(), known)
