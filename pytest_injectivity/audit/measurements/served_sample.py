"""What a sample of states captured elsewhere says of them: their faults, and how far off they are.

The tolerance is not a setting. It follows from how far two evaluations of one state by the audit itself
lie apart, and from the coarser of both dtypes: other kernels round in other places, and as often.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.resolutions import Resolutions
    from pytest_injectivity.audit.target.target import Target
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.prompts.settings import SpecialTokens
    from pytest_injectivity.states.faults.base import Case, Claims
    from pytest_injectivity.states.faults.diagnosis import Finding
    from pytest_injectivity.states.served import ServedStates

SAMPLE = 16
"""Prompts looked at; each costs a pass of the model, and more where something is wrong."""

LONGEST = 256
"""Tokens of a prompt that are looked at: all layers of them are in memory, in float64."""

_EVALUATIONS = 4.0
_ROUNDINGS = 8.0


@dataclass(frozen=True)
class ServedSampleKey(NumberKey):
    """Names what a sample of states captured elsewhere says of them.

    Attributes:
        states: the digest of their files.
        prompts: how many are looked at.
        frame: the tokens that the tokenizer puts before every text.
        tolerances: of each layer.
    """

    states: str
    prompts: int
    frame: tuple[int, ...]
    tolerances: tuple[float, ...]


@dataclass(frozen=True)
class ServedParentKey(NumberKey):
    """Names how far states captured elsewhere lie from the reference's.

    Attributes:
        states: the digest of their files.
        layer: the layer.
    """

    states: str
    layer: Layer


@dataclass(frozen=True)
class ServedLayer:
    """How far the states of a layer lie from the model's, over the prompts looked at.

    Attributes:
        layer: the layer.
        median: of ``||h - h'|| / ||h'||`` over all positions.
        largest: likewise.
        tolerance: what the median of a prompt may be.
    """

    layer: Layer
    median: float
    largest: float
    tolerance: float


@dataclass(frozen=True)
class ServedSample:
    """What a sample says.

    Attributes:
        prompts: how many were looked at.
        findings: the faults, the most frequent first; none where states are as claimed.
        layers: how far each layer's states lie from the model's.
    """

    prompts: int
    findings: "tuple[Finding, ...]"
    layers: tuple[ServedLayer, ...]


def served_sample(
    target: "Target", resolutions: "Resolutions", served: "ServedStates"
) -> ServedSample:
    """Look at a sample of states captured elsewhere, with the model.

    Args:
        target: the model.
        resolutions: of its layers.
        served: the states.
    """
    frame = frame_of(target)
    target.expect(served.layers)
    bounds = tuple(_tolerance(target, resolutions, served, layer) for layer in served.layers)
    chosen = chosen_of(served)
    key = ServedSampleKey(served.digest, len(chosen), frame, bounds)
    return target.remember(key, lambda: _look(target, served, frame, chosen, bounds))


def frame_of(target: "Target") -> tuple[int, ...]:
    """The tokens that the model's tokenizer puts before every text; none where the config says so."""
    from pytest_injectivity.prompts.framing import text_frame

    if target.tokenizer is None:
        return ()
    return text_frame(target.tokenizer, cast("SpecialTokens", target.config.special_tokens)).prefix


def case_of(
    decoder: "Decoder",
    served: "ServedStates",
    prompt: int,
    claims: "Claims",
    tolerances: tuple[float, ...],
) -> "Case":
    """One prompt of states captured elsewhere, to be diagnosed by its first tokens."""
    from pytest_injectivity.states.faults.base import Case

    return Case(
        decoder,
        served.ids[prompt][:LONGEST],
        {layer: served.states[layer][prompt][:LONGEST] for layer in served.layers},
        claims,
        dict(zip(served.layers, tolerances, strict=True)),
    )


def claims_of(served: "ServedStates", frame: tuple[int, ...], decoder: "Decoder") -> "Claims":
    """What is claimed of states captured elsewhere, and the tokens that prompts may begin with."""
    from pytest_injectivity.states.faults.base import Claims

    config = decoder.model.config.get_text_config()
    special = [
        getattr(of, f"{name}_token_id", None)
        for of in (decoder.tokenizer, config)
        for name in ("bos", "eos", "pad")
    ]
    known = [one for one in special if isinstance(one, int) and 0 <= one < decoder.vocab_size]
    return Claims(
        stored=served.dtype,
        computed=served.claimed,
        kv_cache=served.kv_cache,
        frame=frame,
        starts=tuple(dict.fromkeys(known)),
    )


def tolerance_of(usual: float, *, computed: str, own: str) -> float:
    """How far the median position of a layer may be off, relative to a state's norm.

    Args:
        usual: how far two evaluations of the audit itself lie apart, relative to a state's norm.
        computed: the dtype that the engine computed in.
        own: the dtype that the audit computes in.
    """
    from pytest_injectivity.states.faults.base import ROUND_OFF

    return _EVALUATIONS * usual + _ROUNDINGS * max(ROUND_OFF[computed], ROUND_OFF[own])


def _tolerance(
    target: "Target", resolutions: "Resolutions", served: "ServedStates", layer: Layer
) -> float:
    one = resolutions.of(layer).later
    usual = one.ordinary / one.median_norm if one.median_norm else 0.0
    return tolerance_of(usual, computed=served.computed, own=target.facts.dtype)


def _look(
    target: "Target",
    served: "ServedStates",
    frame: tuple[int, ...],
    chosen: list[int],
    bounds: tuple[float, ...],
) -> ServedSample:
    import torch

    from pytest_injectivity.states.faults.diagnosis import diagnose, findings

    claims = claims_of(served, frame, target.decoder)
    faults = []
    off: dict[Layer, list[torch.Tensor]] = {layer: [] for layer in served.layers}
    with target.watcher.progress("states from elsewhere", len(chosen)) as advance:
        for done, prompt in enumerate(chosen, 1):
            case = case_of(target.decoder, served, prompt, claims, bounds)
            faults.append(diagnose(case))
            for layer, one in case.off.items():
                off[layer].append(one)
            advance(done)
    layers = [
        ServedLayer(layer, float(every.median()), float(every.max()), bound)
        for (layer, parts), bound in zip(off.items(), bounds, strict=True)
        for every in [torch.cat(parts)]
    ]
    return ServedSample(len(chosen), findings(faults), tuple(layers))


def parent_distance(parent: "Target", served: "ServedStates", layer: Layer) -> float:
    """How far the sampled states of a layer lie from the reference's, as a median over positions.

    Args:
        parent: the reference of the model that is audited.
        served: the states.
        layer: the layer.
    """
    key = ServedParentKey(served.digest, layer)
    return parent.kept.model.remember(key, lambda: _parent_distance(parent, served, layer))


def _parent_distance(parent: "Target", served: "ServedStates", layer: Layer) -> float:
    import torch

    from pytest_injectivity.inversion.own_states import observe
    from pytest_injectivity.states.faults.base import relative

    off = [
        relative(
            served.states[layer][prompt][:LONGEST],
            observe(parent.decoder, served.ids[prompt][:LONGEST], [layer])[layer].cpu(),
        )
        for prompt in chosen_of(served)
    ]
    return float(torch.cat(off).median())


def chosen_of(served: "ServedStates") -> list[int]:
    """The prompts looked at: those of the smallest hashes."""
    return sorted(range(len(served.ids)), key=served.prompts.hashes.__getitem__)[:SAMPLE]
