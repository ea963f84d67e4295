"""The first position searched, whose one-step map is the same for every prompt.

What all prompts share there is computed once: the table of the whole vocabulary, by which a state
is looked up and certified at the same time. Where the vocabulary is too large for a table, position
0 gets a lens of its own, because the states of attention sinks are unlike those of any later
position.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.inversion.lens_calibration import calibrate_first, calibration_size
from pytest_injectivity.inversion.one_step import OneStep
from pytest_injectivity.inversion.recovery import Outcome
from pytest_injectivity.inversion.search import look_up
from pytest_injectivity.inversion.speculation import Speculation
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.inversion.verifiers import Tolerances
from pytest_injectivity.models.decoder import Decoder


class FirstPosition:
    """Inverts the states of the first position searched.

    Args:
        decoder: the model.
        layer: the layer inverted.
        known: the tokens before the position, the same for all prompts.
        tolerances: what the position's verifier is made of.
        classes: the candidates.
        seed: of the lens of position 0.
        largest_table: a larger vocabulary gets no table.

    Attributes:
        step: the one-step map.
        position: of the state in its prompt.
        tabled: whether the vocabulary gets a table.
        shared: tokens run so far for what all prompts share: the table, or the lens of position 0.
    """

    def __init__(
        self,
        decoder: Decoder,
        layer: Layer,
        *,
        known: tuple[int, ...],
        tolerances: Tolerances,
        classes: TokenClasses,
        seed: int,
        largest_table: int,
    ) -> None:
        self.step = OneStep.of(decoder, layer, known)
        self.position = len(known)
        self.tabled = len(classes) <= largest_table
        self.shared = 0
        self._classes = classes
        self._tolerances = tolerances
        self._seed = seed

    def prepare(self) -> None:
        """Computes what all prompts share, so that no prompt's time includes it."""
        if self.tabled:
            self._table  # noqa: B018 - a cached property
        elif not self.position:
            self._lens  # noqa: B018 - likewise

    def look_up(self, targets: Float[Tensor, "targets hidden"]) -> list[Outcome]:
        """Inverts states by the table."""
        tokens = self._classes.tokens
        verifiers = [self._tolerances.verifier(self.position, one) for one in targets]
        return look_up(self._table, tokens, targets, self.position, verifiers)

    def outcomes(
        self,
        states: Sequence[Float[Tensor, "_length hidden"]],
        speculation: Callable[[Lens], Speculation],
    ) -> Sequence[Outcome | None]:
        """The outcome of each prompt's first position; None where it is searched like the others.

        Args:
            states: of each prompt at every position.
            speculation: inverts prompts of one token by a lens.
        """
        if self.tabled:
            return self.look_up(torch.stack([one[self.position] for one in states]))
        if self.position:
            return [None] * len(states)
        alone = speculation(self._lens).invert([one[:1] for one in states], [None] * len(states))
        return [outcome for (outcome,) in alone]

    @cached_property
    def _table(self) -> Float[Tensor, "candidates hidden"]:
        self.shared += len(self._classes)
        return self.step(self._classes.tokens)

    @cached_property
    def _lens(self) -> Lens:
        decoder, vocab = self.step.decoder, len(self._classes)
        tokens = calibration_size(vocab, decoder.hidden_size, vocab)
        lens = calibrate_first(decoder, self.step.layer, tokens=tokens, seed=self._seed)
        self.shared += lens.forwards
        return lens
