"""SipIt: prompts from their hidden states, one token after another ([N] alg. 1, SPEC section 4).

By causality the state at position t is a function of the tokens up to t. With the tokens before it
known it is inverted by a search over one vocabulary: at most ``T |V|`` tests instead of ``|V|^T``.
The prefix is cached, candidates are tested in batches, and the first position searched, whose
one-step map is the same for every prompt, is looked up in one table::

    states = observe(decoder, ids, [4])[4]
    recover(decoder, states, 4, eps=floor, policy="random").exact(ids)
"""

import time
from collections.abc import Callable, Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.engine import SipIt
from pytest_injectivity.inversion.policies import Policy
from pytest_injectivity.inversion.recovery import Inversion, Recovery
from pytest_injectivity.inversion.tolerances import Tolerance, VerifierName
from pytest_injectivity.models.decoder import Decoder

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


class Settings(TypedDict, total=False):
    """What :class:`SipIt` may be given by keyword besides ``eps``; each is described there."""

    nu: Tolerance | None
    policy: str | Policy
    verifier: VerifierName
    backoff: float
    batch: int
    seed: int
    known: Sequence[int]


def recover(
    decoder: Decoder,
    states: Float[Tensor, "length hidden"],
    layer: Layer,
    *,
    eps: Tolerance,
    certify: bool = False,
    **settings: Unpack[Settings],
) -> Recovery:
    """Inverts the states of one prompt.

    Args:
        decoder: the model the states are inverted with.
        states: at every position of the prompt, known tokens included (:func:`observe`).
        layer: the layer they were captured at.
        eps: the largest observation error; see :class:`SipIt`.
        certify: make a pass over the whole vocabulary at every position, not at the first alone.
        settings: see :class:`SipIt`.

    Raises:
        OptionError: a setting is not accepted, or the states do not fit the model.
        LayerError: the model has no such layer.
        PromptError: a known token is not in the vocabulary.
    """
    sipit = SipIt(decoder, layer, eps=eps, **settings)
    sipit.check(states)
    (recovery,) = sipit.recover([states], [range(len(states)) if certify else ()])
    return recovery


def recover_all(
    decoder: Decoder,
    states: Sequence[Float[Tensor, "_length hidden"]],
    layer: Layer,
    *,
    eps: Tolerance,
    certify: int = CERTIFIED_POSITIONS,
    progress: Callable[[int], None] | None = None,
    **settings: Unpack[Settings],
) -> Inversion:
    """Inverts the states of many prompts at one layer, sharing what they have in common.

    Args:
        decoder: the model the states are inverted with.
        states: of each prompt, as for :func:`recover`.
        layer: the layer they were captured at.
        eps: the largest observation error; see :class:`SipIt`.
        certify: how many positions, drawn at random over all prompts, get a pass over the whole
            vocabulary: their ambiguity rate estimates that of all.
        progress: called with the number of prompts done.
        settings: see :class:`SipIt`.

    Raises:
        OptionError: there are no prompts, a setting is not accepted, or states do not fit the model.
        LayerError: the model has no such layer.
        PromptError: a known token is not in the vocabulary.
    """
    started = time.perf_counter()
    if not states or certify < 0:
        raise OptionError(
            f"{len(states)} prompts to invert, certify={certify}: give the states of at least one"
            " prompt, and a number of positions that is at least 0"
        )
    sipit = SipIt(decoder, layer, eps=eps, **settings)
    for one in states:
        sipit.check(one)
    sample = sipit.draw([len(one) for one in states], certify)
    certified: list[set[int]] = [set() for _ in states]
    for prompt, at in sample:
        certified[prompt].add(at)
    recoveries = sipit.recover(states, certified, progress)
    seconds = time.perf_counter() - started
    return Inversion(
        layer=sipit.layer,
        policy=sipit.policy_name,
        recoveries=recoveries,
        sample=sample,
        seconds=seconds,
        forwards=sipit.work.forwards,
        certificates=sipit.work.certificates,
    )
