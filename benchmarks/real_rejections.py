"""How often SipIt's ball rejects the true token, and whether a wrong model recovers anything.

A state observed alone is held against the same token evaluated as a search does: behind its cached
prefix by itself, side by side with other candidates, and within a padded batch of whole prompts. It is
outside the ball where the scaled distance exceeds the radius, and lost where it exceeds what the search
may widen the radius to. Radii come from other prompts. A search of the same prompts says how many come
back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from real_tables import markdown, told
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.sipit import DEFAULT_BACKOFF, recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.redraw import redraw
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.states.resolution import LayerResolution
from pytest_injectivity.states.resolution_measurement import measure_resolution
from pytest_injectivity.states.resolution_sample import choose_sample

PROMPTS = 60
TOKENS = 20
READ = 5
READ_TOKENS = 10
"""Prompts that a wrong model tries to read, and their length: each position costs the vocabulary."""
MOST = 1e-3
WAYS = ("alone", "beside others", "in a batch")
_RIVALS = 31
WRONG = {"float32": 0.01, "bfloat16": 0.1, "float16": 0.1}
"""Noise on the weights, over each tensor's root mean square, at which nothing may be recovered."""
LEAST = 1e-7
"""Noise below every rounding that is looked at."""


@dataclass(frozen=True)
class Rejections:
    """What the ball says of true tokens at the layers of a model.

    Attributes:
        model, dtype: which.
        layers: the layers looked at.
        tested: evaluations of true tokens.
        outside: how many of these are farther than the radius, in each of `WAYS`.
        beyond: how many are farther than a search may widen it to.
        largest: the largest distance over the radius.
        prompts, recovered: prompts searched with the model itself, over the layers, and those that came
            back exact and verified.
        redrawn, noisy: prompts that a model with other weights, or with noise on them, recovers.
        strength: that noise, over each tensor's root mean square.
        smallest: the smallest noise at which nothing is recovered, to a factor of two; infinite where
            that noise is recovered from.
    """

    model: str
    dtype: str
    layers: tuple[Layer, ...]
    tested: int
    outside: tuple[int, ...]
    beyond: int
    largest: float
    prompts: int
    recovered: int
    redrawn: int
    noisy: int
    strength: float
    smallest: float

    @property
    def met(self) -> bool:
        """Whether few true tokens are rejected and no wrong model recovers a prompt."""
        few = sum(self.outside) <= MOST * self.tested
        return few and not self.redrawn and not self.noisy


def of_model(folder: Path, source: str, dtype: str) -> Rejections:
    """Counts rejections of the true token, and recoveries by wrong models.

    Args:
        folder: the checkpoint.
        source: of the prompts.
        dtype: the dtype computed in.
    """
    decoder = load_decoder(str(folder), dtype=dtype, device="cpu")
    found = load_prompts(
        source,
        decoder.tokenizer,
        overlong="drop",
        context=decoder.context,
        vocab_size=decoder.vocab_size,
    )
    long = [ids[:TOKENS] for ids in found.ids if len(ids) >= TOKENS]
    prompts = list(dict.fromkeys(long))[:PROMPTS]
    layers: tuple[Layer, ...] = tuple(sorted({1, decoder.n_layers // 2, decoder.n_layers}))
    sample = choose_sample(found.ids[-len(found) // 2 :], decoder.vocab_size, decoder.context)
    resolutions = measure_resolution(decoder, None, sample, layers)
    ratios = np.concatenate([over_radius(decoder, prompts, layer, resolutions) for layer in layers])
    outside = tuple((ratios > 1).sum(axis=0).tolist())
    told(f"{folder.name} {dtype}: {outside} of {len(ratios)} each, up to {ratios.max():.3g}")
    whole = [observe(decoder, ids, layers) for ids in prompts]
    found_again = sum(_read(decoder, whole, prompts, one, resolutions[one]) for one in layers)
    short = [ids[:READ_TOKENS] for ids in prompts[:READ]]
    observed = [observe(decoder, ids, layers) for ids in short]

    def recovered(reader: Decoder, own: Mapping[Layer, LayerResolution]) -> int:
        """Prompts that somebody with this model reads, over the layers."""
        return sum(_read(reader, observed, short, layer, own[layer]) for layer in layers)

    wrong = load_decoder(str(folder), dtype=dtype, device="cpu")
    redraw(wrong, torch.Generator().manual_seed(0))
    redrawn = recovered(wrong, measure_resolution(wrong, None, sample, layers))

    def by_noise(strength: float) -> int:
        """Prompts that the model with noise on its weights reads."""
        noisy = with_noise(load_decoder(str(folder), dtype=dtype, device="cpu"), strength)
        # So little noise does not change how a model rounds.
        read = recovered(noisy, resolutions)
        told(f"{folder.name} {dtype}: noise {strength:.2g}: {read} recovered")
        return read

    noisy = by_noise(WRONG[dtype])
    return Rejections(
        model=folder.name,
        dtype=dtype,
        layers=layers,
        tested=ratios.size,
        outside=outside,
        beyond=int((ratios > DEFAULT_BACKOFF).sum()),
        largest=float(ratios.max()),
        prompts=len(prompts) * len(layers),
        recovered=found_again,
        redrawn=redrawn,
        noisy=noisy,
        strength=WRONG[dtype],
        smallest=smallest_rejected(by_noise, WRONG[dtype]) if not noisy else float("inf"),
    )


def smallest_rejected(recovered: Callable[[float], int], rejected: float) -> float:
    """Bisects the smallest strength at which nothing is recovered, to a factor of two.

    Args:
        recovered: prompts recovered at a strength.
        rejected: a strength at which none is.
    """
    low, high = LEAST, rejected
    while high / low > 2:  # noqa: PLR2004 - a factor of two
        middle = (low * high) ** 0.5
        low, high = (middle, high) if recovered(middle) else (low, middle)
    return high


def with_noise(decoder: Decoder, strength: float, seed: int = 0) -> Decoder:
    """Adds Gaussian noise to every weight, in proportion to its tensor's root mean square."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.model.parameters():
            size = parameter.double().square().mean().sqrt()
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(parameter.double() + strength * size * noise)
    return decoder


def over_radius(
    decoder: Decoder,
    prompts: Sequence[tuple[int, ...]],
    layer: Layer,
    resolutions: Mapping[Layer, LayerResolution],
) -> np.ndarray:
    """The scaled distance of each evaluation of a true token from its state, over the radius.

    Returns:
        ``(positions, ways)``.
    """
    resolution = resolutions[layer]
    draw = torch.Generator().manual_seed(0)
    together = decoder.states(torch.tensor(prompts), [layer])[layer]
    ratios: list[list[float]] = []
    for ids, batched in zip(prompts, together, strict=True):
        states = observe(decoder, ids, [layer])[layer]
        for position, token in enumerate(ids):
            of = resolution.of(position)
            prefix = decoder.prefix(torch.tensor(ids[:position], dtype=torch.long), layer)
            others = torch.randint(decoder.vocab_size, (_RIVALS,), generator=draw)
            alone, beside = (
                decoder.candidates(prefix, torch.cat([torch.tensor([token]), some]), [layer])[layer]
                for some in (others[:0], others)
            )
            ways: list[Tensor] = [alone[0], beside[0], batched[position]]
            off = torch.stack(ways).double() - states[position].double()
            radius = resolution.scaled_tolerance.at(position, float(states[position].norm()))
            ratios.append((of.scale.norms(off) / radius).tolist())
    return np.array(ratios)


def _read(
    reader: Decoder,
    observed: Sequence[dict[Layer, Tensor]],
    prompts: Sequence[tuple[int, ...]],
    layer: Layer,
    resolution: LayerResolution,
) -> int:
    found = recover_all(
        reader,
        [states[layer] for states in observed],
        layer,
        eps=resolution.scaled_tolerance,
        scales=resolution.scales,
        certify=0,
        evaluate=True,
    )
    return sum(one.exact(ids) for one, ids in zip(found.recoveries, prompts, strict=True))


COLUMNS = (
    "model, dtype (layers)",
    "true tokens tested",
    f"outside the ball: {', '.join(WAYS)} (asked: at most {MOST:g} of them)",
    "and of what it is widened to",
    "largest distance / radius",
    "recovered with the model itself",
    "recovered with redrawn weights",
    "recovered with noise on the weights",
    "smallest noise that recovers nothing",
    "met",
)


def rejections(models: Sequence[Path], source: str, dtypes: Sequence[str]) -> str:
    """False rejections and wrong models, of each model in each dtype, as a table."""
    found = [of_model(folder, source, dtype) for folder in models for dtype in dtypes]
    tested, rejected = sum(one.tested for one in found), sum(sum(one.outside) for one in found)
    rows = [
        (
            f"{one.model}, {one.dtype} ({', '.join(map(str, one.layers))})",
            f"{one.tested}",
            ", ".join(map(str, one.outside)),
            f"{one.beyond}",
            f"{one.largest:.3f}",
            f"{one.recovered} of {one.prompts}",
            f"{one.redrawn} of {READ * len(one.layers)}",
            f"{one.noisy} of {READ * len(one.layers)} at {one.strength:g}",
            f"{one.smallest:.2g}",
            "yes" if one.met else "no",
        )
        for one in found
    ]
    met = "yes" if rejected <= MOST * tested else "no"
    beyond = sum(one.beyond for one in found)
    rows.append(("all together", f"{tested}", f"{rejected}", f"{beyond}", *[""] * 5, met))
    return markdown(
        f"True tokens and wrong models, {PROMPTS} prompts of {TOKENS} tokens", COLUMNS, rows
    )
