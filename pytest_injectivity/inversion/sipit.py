"""SipIt: prompts from their hidden states, one token after another ([N] alg. 1, SPEC section 4).

By causality the state at position t is a function of the tokens up to t, so with the tokens before it
known it is inverted by a search over one vocabulary: at most ``T |V|`` tests instead of ``|V|^T``. The
prefix is cached, candidates are tested in batches, and the first position searched, whose one-step map
is the same for every prompt, is looked up in one table.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.onestep import OneStep
from pytest_injectivity.inversion.policies import Policy, Situation, make_policy
from pytest_injectivity.inversion.recovery import Inversion, Outcome, Recovery, Status
from pytest_injectivity.inversion.search import look_up, search
from pytest_injectivity.inversion.tolerance import Tolerance, Tolerances, VerifierName
from pytest_injectivity.layers import Layer, resolve_layers
from pytest_injectivity.models.decoder import Decoder

DEFAULT_POLICY = "lm-order"
"""The policy used where none is named."""

CERTIFIED_POSITIONS = 100
"""How many positions of a layer are certified where no number is given."""


def observe(
    decoder: Decoder, ids: Sequence[int], layers: Sequence[Layer]
) -> dict[Layer, Float[Tensor, "length hidden"]]:
    """The states of one prompt at every position: what SipIt inverts.

    Args:
        decoder: the model.
        ids: the prompt.
        layers: the layers kept, from one pass.

    Returns:
        By layer, in the model's dtype, on its device.
    """
    found = decoder.states(torch.tensor([list(ids)], dtype=torch.long), layers)
    return {layer: states[0] for layer, states in found.items()}


def recover(
    decoder: Decoder,
    states: Float[Tensor, "length hidden"],
    layer: Layer,
    *,
    eps: Tolerance,
    nu: Tolerance | None = None,
    policy: str | Policy = DEFAULT_POLICY,
    verifier: VerifierName = "ball",
    backoff: float = 1.0,
    batch: int = 64,
    seed: int = 0,
    known: Sequence[int] = (),
    certify: bool = False,
) -> Recovery:
    """Inverts the states of one prompt; see :func:`recover_all`.

    Args:
        certify: make a whole-vocabulary pass at every position, not at the first alone.
    """
    inversion = recover_all(
        decoder,
        [states],
        layer,
        eps=eps,
        nu=nu,
        policy=policy,
        verifier=verifier,
        backoff=backoff,
        batch=batch,
        seed=seed,
        known=known,
        certify=len(states) if certify else 0,
    )
    return inversion.recoveries[0]


def recover_all(
    decoder: Decoder,
    states: Sequence[Float[Tensor, "_length hidden"]],
    layer: Layer,
    *,
    eps: Tolerance,
    nu: Tolerance | None = None,
    policy: str | Policy = DEFAULT_POLICY,
    verifier: VerifierName = "ball",
    backoff: float = 1.0,
    batch: int = 64,
    seed: int = 0,
    known: Sequence[int] = (),
    certify: int = CERTIFIED_POSITIONS,
) -> Inversion:
    """Inverts the states of many prompts at one layer.

    The answers are judged here by their states alone; whether they are the truth is for the caller
    (:meth:`Recovery.exact`). A position that does not verify keeps the nearest token as the prefix of
    what follows, and the recovery counts as failed. Memory: the candidates of one position and the
    table of the first one, each as large as the model's embedding matrix.

    Args:
        decoder: the model the states are inverted with.
        states: of each prompt, at every position (:func:`observe`).
        layer: the layer they were captured at. Layer 0 sees one token only and is inverted by lookup.
        eps: the largest observation error, in the states' units: the noise floor for states of this
            very model, else the error given or estimated for them; by position where it differs.
        nu: how far two evaluations of one candidate may lie apart; ``eps`` where it is not given.
        policy: orders the candidates, by name (one of ``policies.POLICIES``) or as an object.
        verifier: ``"ball"``, or ``"argmin"``, which verifies nothing and answers always.
        backoff: the largest factor by which ``eps`` is widened where nothing verifies; never past the
            point where uniqueness stops. 1 widens nothing.
        batch: candidates tested at first at a position; doubled each time after.
        seed: decides the random policy's order and the positions certified.
        known: tokens every prompt begins with (a special token): not searched, their rows skipped.
        certify: how many positions, drawn at random over all prompts, are certified by a pass over the
            whole vocabulary. The first position always is, by its table.

    Raises:
        OptionError: a tolerance, the policy, the verifier, the batch, the known tokens or a state's
            shape is not accepted; the message says what is.
        LayerError: the model has no such layer.
        PromptError: a known token is not in the vocabulary.
    """
    started = time.perf_counter()
    (layer,) = resolve_layers(layer, decoder.n_layers)
    tolerances = Tolerances.of(eps, nu, backoff)
    if batch < 1 or certify < 0:
        raise OptionError(
            f"batch={batch} and certify={certify}: batch must be at least 1, certify at least 0"
        )
    if not states:
        raise OptionError("no states to invert: give those of at least one prompt")
    for one in states:
        _check_fit(decoder, one, known)
    sample = _draw([len(one) for one in states], len(known), certify, seed)
    first = OneStep.of(decoder, layer, known)
    sipit = SipIt(
        first=first,
        table=first.table(),
        known=tuple(known),
        policy=make_policy(policy, seed) if isinstance(policy, str) else policy,
        tolerances=tolerances,
        verifier=verifier,
        batch=batch,
    )
    recoveries = tuple(
        sipit.recover(one, {position for prompt, position in sample if prompt == number})
        for number, one in enumerate(states)
    )
    name = policy if isinstance(policy, str) else repr(policy)
    return Inversion(layer, name, recoveries, sample, time.perf_counter() - started)


def certify(
    decoder: Decoder,
    ids: Sequence[int],
    layer: Layer,
    positions: Sequence[int],
    *,
    eps: Tolerance,
    nu: Tolerance | None = None,
    states: Float[Tensor, "length hidden"] | None = None,
) -> tuple[Outcome, ...]:
    """One pass over the whole vocabulary at each of these positions of a known prompt.

    Args:
        decoder: the model.
        ids: the prompt; position t is inverted after ``ids[:t]``.
        layer: the layer.
        positions: indexes into ``ids``.
        eps: as for :func:`recover_all`.
        nu: as for :func:`recover_all`.
        states: observed at every position of the prompt; the model's own where not given.

    Returns:
        An outcome for each position, in the order given: certified, with its local margin, or why not.

    Raises:
        OptionError: a position is not one of the prompt's, or a tolerance or a shape is not accepted.
        LayerError: the model has no such layer.
        PromptError: an id is not in the vocabulary, or the prompt exceeds the context.
    """
    (layer,) = resolve_layers(layer, decoder.n_layers)
    tolerances = Tolerances.of(eps, nu, backoff=1.0)
    observed = observe(decoder, ids, [layer])[layer] if states is None else states
    _check_fit(decoder, observed, ())
    outside = [position for position in positions if not 0 <= position < len(ids)]
    if outside or len(observed) != len(ids):
        raise OptionError(
            f"positions {list(positions)} of a prompt of {len(ids)} tokens with {len(observed)} states:"
            f" give positions 0 to {len(ids) - 1} and one state a token"
        )
    return tuple(
        look_up(
            OneStep.of(decoder, layer, ids[:position]).table(),
            observed[position],
            position,
            tolerances.verifier("ball", position),
        )
        for position in positions
    )


@dataclass(frozen=True, eq=False)
class SipIt:
    """What is settled once for all prompts of a layer.

    Attributes:
        first: the one-step map of the first position searched.
        table: its value at every token.
        known: the tokens before it.
        policy, tolerances, verifier, batch: as for :func:`recover_all`.
    """

    first: OneStep
    table: Float[Tensor, "vocab hidden"]
    known: tuple[int, ...]
    policy: Policy
    tolerances: Tolerances
    verifier: VerifierName
    batch: int

    def recover(
        self, states: Float[Tensor, "length hidden"], certified: Collection[int]
    ) -> Recovery:
        """Inverts one prompt, with whole-vocabulary passes at the positions ``certified``."""
        started = time.perf_counter()
        outcomes: list[Outcome] = []
        step = self.first
        for position in range(len(self.known), len(states)):
            if outcomes:
                token = outcomes[-1].token
                if token is None:
                    outcomes.append(Outcome(position, Status.NOT_REACHED))
                    continue
                step = step.after(token)
            outcomes.append(self._invert(step, states[position], position, position in certified))
        return Recovery(self.known, tuple(outcomes), time.perf_counter() - started)

    def _invert(
        self, step: OneStep, target: Float[Tensor, " hidden"], position: int, certified: bool
    ) -> Outcome:
        verifier = self.tolerances.verifier(self.verifier, position)
        if position == len(self.known):
            return look_up(self.table, target, position, verifier)
        at = Situation(step, target)
        return search(at, position, self.policy, verifier, batch=self.batch, certify=certified)


def _draw(lengths: Sequence[int], known: int, count: int, seed: int) -> tuple[tuple[int, int], ...]:
    """``count`` of the positions searched, uniformly without replacement, in order."""
    every = [
        (prompt, position)
        for prompt, length in enumerate(lengths)
        for position in range(known, length)
    ]
    drawn = np.random.default_rng(seed).permutation(len(every))[:count]
    return tuple(every[index] for index in sorted(drawn.tolist()))


def _check_fit(
    decoder: Decoder, states: Float[Tensor, "length hidden"], known: Sequence[int]
) -> None:
    length, hidden = states.shape
    if hidden != decoder.hidden_size:
        raise OptionError(
            f"states of width {hidden} cannot be inverted with {decoder.source}, whose states have"
            f" width {decoder.hidden_size}"
        )
    longest = decoder.context
    if length <= len(known) or (longest is not None and length > longest):
        raise OptionError(
            f"states of {length} positions, {len(known)} of them known: at least one position to"
            f" search is needed, and at most {longest or 'any number of'} positions in all"
        )
