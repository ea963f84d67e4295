"""How far a model's weights are from weights at which two given prompts collide (SPEC section 11).

Two prompts collide at a layer where ``r(theta) = F_l(s) - F_l(t)`` is zero. The smallest change ``d`` of
the weights with ``r(theta + d) = 0`` is looked for by Gauss-Newton steps on the whole change,
``d <- J^+ (J d - r)``, so that its norm stays least, and then ``d <- d - J^+ r``, which converge fast to
a collision near by. ``J J^T`` is accumulated over groups of tensors (`linearization`); ``J`` itself,
which has a row for each coordinate of a state and a column for each weight, is never held whole. What is
found is applied, and collides: its norm is an upper bound of the distance. Prompts of equal length
collide as well where the embedding rows of the tokens in which they differ become equal; where that is a
smaller change, or the steps reach no collision, it is the bound. The lower figure beside it,
``||r|| / sigma_max(J)``, is an estimate of first order.

Roundings of the same weights are measured beside it, whole and projected on the row space of ``J``: a
rounding is nearly orthogonal to it, so its norm alone would mislead.

Source: [VS], the distance ``Delta_l`` to the discriminant. Cost: a pass and one backward pass for each
coordinate of a state, a step; so it grows with the width times the weights.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Parameter

from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.errors import ModelError, OptionError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.theory.changed_weights import Weights, norm_of, weights_of
from pytest_injectivity.theory.jacobian_products import JacobianProducts
from pytest_injectivity.theory.linearization import Linearization
from pytest_injectivity.theory.merged_rows import merged_rows
from pytest_injectivity.theory.search_work import HELD_BYTES, MOST_STEPS

# How near to zero the difference of the states must come, of the larger one's norm.
_COLLIDES = 1e-9
# A change that moves by less than this share of itself is the nearest one: its norm is then as near to
# the least as the square of this.
_SETTLED = 1e-2
_MOST_HALVINGS = 10


@dataclass(frozen=True)
class RoundingSize:
    """How far a rounding of the weights moves them.

    Attributes:
        norm: ``||q||_2``, of the weights that were looked at.
        projected: of its projection on the row space of ``J``: the part that moves the two states
            apart or together, to first order.
    """

    norm: float
    projected: float

    def roundings(self, norm: float) -> float:
        """How many such roundings a change of this norm is, in the directions that matter."""
        if not norm:
            return 0.0
        return norm / self.projected if self.projected else math.inf


@dataclass(frozen=True)
class CollidingChange:
    """The smallest change of weights found at which two prompts collide.

    Attributes:
        layer: where they collide.
        over: the weights that were changed: ``all``, ``embedding``, or a block such as ``layer03``.
        distance: ``||r||_2`` of the model as it is.
        left: the same after the change, as a share of the larger state's norm.
        norm: ``||d||_2``, an upper bound of the distance to the discriminant.
        weights: ``||theta||_2`` of the weights that could change.
        first_order: ``||r|| / sigma_max(J)``, an estimate.
        steps: Gauss-Newton steps.
        reached: the two collide after the change: ``left`` is at most 1e-9.
        merged: the change makes the embedding rows of the tokens in which both differ equal.
        roundings: by name, how far roundings of the same weights move them.
        change: ``d`` itself, by the names of the tensors in the base model.
    """

    layer: Layer
    over: str
    distance: float
    left: float
    norm: float
    weights: float
    first_order: float
    steps: int
    reached: bool
    merged: bool = False
    roundings: Mapping[str, RoundingSize] = field(default_factory=dict)
    change: Weights = field(default_factory=dict, repr=False, compare=False)

    @property
    def relative(self) -> float:
        """The change as a share of the weights that could change."""
        return self.norm / self.weights


def colliding_change(
    decoder: Decoder,
    pair: tuple[Sequence[int], Sequence[int]],
    layer: Layer,
    over: str | int = "all",
    *,
    roundings: Mapping[str, Weights] | None = None,
    held_bytes: int = HELD_BYTES,
) -> CollidingChange:
    """The smallest change of weights found at which the last states of two prompts are equal.

    Args:
        decoder: computes in float64; its weights are the same afterwards.
        pair: the token ids of the two prompts.
        layer: where they are to collide, from 0 on, or ``"norm"``.
        over: what may change: ``"all"``, ``"embedding"`` (the input embedding's rows), or the
            number of a block.
        roundings: by name, further changes of these weights, such as those of `rounding_of`.
        held_bytes: of derivatives that are held at once; changes no number but by rounding.

    Raises:
        ModelError: the decoder does not compute in float64, or a state is not finite.
        OptionError: ``over`` is not accepted, nothing of it changes the layer, or the derivatives by one
            tensor are more than ``held_bytes``.
        PromptError: a prompt is empty, has ids that the model has not, or both are the same.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> found = colliding_change(tiny_decoder("gpt2").as_float64(), ([1, 2], [1, 3]), 2)
        >>> found.reached, found.norm >= found.first_order
        (True, True)
    """
    search = _Search(decoder, pair, layer, over, held_bytes)
    with search.weights_free():
        return search.run(roundings or {})


class _Search:
    """The Gauss-Newton steps for one pair of prompts."""

    def __init__(
        self,
        decoder: Decoder,
        pair: tuple[Sequence[int], Sequence[int]],
        layer: Layer,
        over: str | int,
        held_bytes: int,
    ) -> None:
        if not decoder.float64:
            raise ModelError(
                f"{decoder.source} computes in {decoder.dtype}: give Decoder.as_float64()"
            )
        _check_prompts(decoder, pair)
        self.decoder, self.layer = decoder, layer
        self.over, self.parameters = weights_of(decoder, over)
        self.norm = norm_of(self.parameters)
        ids = torch.tensor([*pair[0], *pair[1]], device=decoder.device)
        # Of the embedding only the rows of these tokens move the states: they are its whole table here.
        self.used, places = ids.unique(return_inverse=True)  # type: ignore[no-untyped-call] # torch has no types for it
        self.pair = places.split([len(pair[0]), len(pair[1])])
        self.table = decoder.parts.embeddings.weight
        rows = Parameter(self.table.detach()[self.used], requires_grad=False)
        self.rows = rows
        for name, one in self.parameters.items():
            if one is self.table:
                self.parameters[name] = rows
        self.start = {name: one.detach().clone() for name, one in self.parameters.items()}
        self.linearization = Linearization(
            self.over, decoder.parts.base, [*decoder.parts.blocks], self.parameters, held_bytes
        )

    @contextmanager
    def weights_free(self) -> Iterator[None]:
        """Lets weights change and have gradients; they are as they were afterwards."""
        module = self.decoder.parts.embeddings
        padding = module.padding_idx
        wanted = {name: one.requires_grad for name, one in self.parameters.items()}
        try:
            module.weight, module.padding_idx = self.rows, None
            for one in self.parameters.values():
                one.requires_grad_(True)  # noqa: FBT003 - torch's own
            yield
        finally:
            module.weight, module.padding_idx = self.table, padding
            for name, one in self.parameters.items():
                one.requires_grad_(wanted[name])
                one.data.copy_(self.start[name])

    def run(self, roundings: Mapping[str, Weights]) -> CollidingChange:
        """Looks for the change, and says what it is."""
        change = {name: torch.zeros_like(one) for name, one in self.start.items()}
        first, scale = self._apply(change)
        view = self._linear(change, roundings)
        # Prompts that collide as it is need no change.
        settled = first <= _COLLIDES * scale
        if not (settled or view.moved):
            raise OptionError(
                f"over={self.over!r}: no weight of it changes the difference of the two states at"
                f" {layer_id(self.layer)}"
            )
        sizes = {
            name: RoundingSize(norm_of(one), view.projected(name))
            for name, one in roundings.items()
        }
        largest, steps, apart = view.largest, 0, first
        while steps < MOST_STEPS and not (settled and apart <= _COLLIDES * scale):
            moved = self._step(change, self._aim(view, change, settled=settled), apart)
            if moved is None and settled:
                break
            steps += 1
            # What comes no nearer on the way to the least norm goes straight to a collision.
            taken = moved or change
            far = norm_of({name: taken[name] - change[name] for name in taken})
            settled = settled or far <= _SETTLED * norm_of(taken) or steps > MOST_STEPS // 2
            change = taken
            apart, scale = self._apply(change)
            view = self._linear(change, {})
        left = apart / scale
        merged = self._merged()
        if merged and (left > _COLLIDES or norm_of(merged) < norm_of(change)):
            change = merged
            apart, scale = self._apply(change)
            left = apart / scale
        return CollidingChange(
            layer=self.layer,
            over=self.over,
            distance=first,
            left=left,
            norm=norm_of(change),
            weights=self.norm,
            first_order=first / largest if first else 0.0,
            steps=steps,
            reached=left <= _COLLIDES,
            merged=change is merged,
            roundings=sizes,
            change={name: self._whole(name, one) for name, one in change.items()},
        )

    def _merged(self) -> dict[str, Tensor] | None:
        """The change after which both prompts have the same rows; None where none does that."""
        names = [name for name, one in self.parameters.items() if one is self.rows]
        if not names:
            return None
        one, two = (ids.tolist() for ids in self.pair)
        rows = merged_rows(self.start[names[0]], (one, two))
        if rows is None:
            return None
        zeros = {name: torch.zeros_like(one) for name, one in self.start.items()}
        return zeros | {names[0]: rows}

    def _aim(self, view: JacobianProducts, change: Weights, *, settled: bool) -> dict[str, Tensor]:
        """Where a whole step goes: to the least norm, or, once that is settled, to a collision."""
        if not settled:
            return self._transposed(view.solved(view.along_change - view.residual))
        moves = self._transposed(view.solved(-view.residual))
        return {name: change[name] + one for name, one in moves.items()}

    def _step(self, change: Weights, aim: Weights, apart: float) -> dict[str, Tensor] | None:
        """The change on the way to the aim at which the states are nearer; None where none is found."""
        share = 1.0
        for _ in range(_MOST_HALVINGS):
            taken = {name: change[name] + share * (aim[name] - change[name]) for name in change}
            if self._apply(taken)[0] < apart:
                return taken
            share /= 2
        return None

    def _apply(self, change: Weights) -> tuple[float, float]:
        """Changes the weights; the difference of the states, and the larger one's norm."""
        for name, one in self.parameters.items():
            one.data.copy_(self.start[name] + change[name])
        with torch.no_grad():
            both = [self._state(ids) for ids in self.pair]
        apart, scale = float((both[0] - both[1]).norm()), max(float(one.norm()) for one in both)
        if not torch.stack(both).isfinite().all():
            raise ModelError(
                f"{self.decoder.source}: a state at {layer_id(self.layer)} is not finite: audit the"
                " model first (assert_no_collisions)"
            )
        return apart, scale

    def _state(self, ids: Tensor) -> Float64[Tensor, " hidden"]:
        with self.decoder.running():
            rows = self.decoder.parts.embeddings(ids[None])
        return self.decoder.states_from_embeddings(rows, [self.layer])[self.layer][0, -1]

    def _states(self) -> tuple[Float64[Tensor, " hidden"], Float64[Tensor, " hidden"]]:
        with torch.enable_grad():
            return self._state(self.pair[0]), self._state(self.pair[1])

    def _linear(self, change: Weights, roundings: Mapping[str, Weights]) -> JacobianProducts:
        """What is known of ``J`` at the weights as they are."""
        with self.linearization.recorded():
            states = self._states()
        of_rows = {name: self._of_rows(one) for name, one in roundings.items()}
        return self.linearization.of(states, change, of_rows)

    def _transposed(self, weights: Float64[Tensor, " hidden"]) -> dict[str, Tensor]:
        """``J^T`` times a vector: one backward pass."""
        first, second = self._states()
        with torch.enable_grad():
            along = (first - second) @ weights
        slopes = torch.autograd.grad(along, list(self.parameters.values()), allow_unused=True)
        return {
            name: torch.zeros_like(self.start[name]) if slope is None else slope
            for name, slope in zip(self.parameters, slopes, strict=True)
        }

    def _of_rows(self, weights: Weights) -> Weights:
        """The same, of the embedding only the rows that are used."""
        is_rows = {name for name, one in self.parameters.items() if one is self.rows}
        return {name: one[self.used] if name in is_rows else one for name, one in weights.items()}

    def _whole(self, name: str, one: Tensor) -> Tensor:
        """A change of a tensor of the model; of the embedding, zero in all rows that are not used."""
        if self.parameters[name] is not self.rows:
            return one
        return torch.zeros_like(self.table).index_copy(0, self.used, one)


def _check_prompts(decoder: Decoder, pair: tuple[Sequence[int], Sequence[int]]) -> None:
    for ids in pair:
        wrong = [one for one in ids if not 0 <= one < decoder.vocab_size]
        if wrong or not ids:
            what = f"token id {wrong[0]}" if wrong else "no token"
            raise PromptError(
                f"a prompt of {what}: give ids from 0 to {decoder.vocab_size - 1} of {decoder.source}"
            )
    if list(pair[0]) == list(pair[1]):
        raise PromptError("both prompts are the same: they collide whatever the weights are")
