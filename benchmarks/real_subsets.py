"""Small trained models: no subset of natural prompts is red, and planted collisions are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from real_tables import markdown, told

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.results.verdict import Verdict
from pytest_injectivity.testing import plant_equal_embeddings

SUBSETS = 20
PLANTED = 20
_NATURAL = 100


@dataclass(frozen=True)
class Subsets:
    """What the gate of all layers says of a model.

    Attributes:
        model, dtype: which.
        prompts: of all subsets together.
        red: the first line of each verdict that is not PASS.
        subsets: how many there are.
        found: planted pairs that are collisions, by layer.
        planted: how many pairs were planted.
        others: colliding or unresolved pairs that were not planted, over all layers.
    """

    model: str
    dtype: str
    prompts: int
    red: tuple[str, ...]
    subsets: int
    found: tuple[int, ...]
    planted: int
    others: int

    @property
    def met(self) -> bool:
        """Whether nothing natural is red and everything planted is found."""
        return not self.red and set(self.found) == {self.planted} and not self.others


def of_model(folder: Path, source: str, dtype: str) -> Subsets:
    """Audits the subsets, and the model with two equal embedding rows.

    Args:
        folder: the checkpoint.
        source: of the prompts.
        dtype: the dtype computed in.
    """
    audit = _audit(folder, source, dtype)
    decoder, every = audit.decoder, audit.prompts
    red = []
    for at in range(SUBSETS):
        verdict = _judged(audit, every.take(range(at, len(every), SUBSETS), f"subset {at}"), folder)
        if not verdict.passed:
            red.append(verdict.first_line)
            told(verdict.text)
    kept, twin = commonest_and_rarest(every.ids, decoder.vocab_size)
    plant_equal_embeddings(decoder, kept, twin)
    without = [ids for ids in every.ids if twin not in ids]
    pairs = twins([ids for ids in without if kept in ids][:PLANTED], kept, twin)
    natural = [ids for ids in without if kept not in ids][:_NATURAL]
    ids = (*natural, *(side for pair in pairs for side in pair))
    planted = _audit(folder, source, dtype)
    planted.target.adopt(decoder)
    planted.target.use_prompts(PromptSet("planted", ids, None, special_tokens=every.special_tokens))
    verdict = planted.check_no_collisions()
    doubts = planted.measurements.doubtful(planted.layers)
    found, others = [], 0
    for layer, reason in zip(planted.layers, verdict.reasons, strict=True):
        equal = _equal(planted, layer) | {pair for pair, _, _ in doubts[layer].of_kind("collision")}
        wanted = {(len(natural) + 2 * at, len(natural) + 2 * at + 1) for at in range(len(pairs))}
        found.append(len(wanted & equal))
        others += int(reason.value) - found[-1]
    return Subsets(
        model=folder.name,
        dtype=dtype,
        prompts=len(every),
        red=tuple(red),
        subsets=SUBSETS,
        found=tuple(found),
        planted=len(pairs),
        others=others,
    )


def commonest_and_rarest(prompts: Sequence[Sequence[int]], vocabulary: int) -> tuple[int, int]:
    """The token that most prompts hold, and the one that fewest do, the first among equals."""
    counts = np.bincount(np.concatenate([np.unique(ids) for ids in prompts]), minlength=vocabulary)
    return int(counts.argmax()), int(counts.argmin())


def twins(
    prompts: Sequence[Sequence[int]], kept: int, twin: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Each prompt, and the same with one token replaced by its twin at the last place it stands."""
    pairs = []
    for ids in prompts:
        at = max(place for place, token in enumerate(ids) if token == kept)
        pairs.append((tuple(ids), (*ids[:at], twin, *ids[at + 1 :])))
    return pairs


def _equal(audit: Audit, layer: Layer) -> set[tuple[int, int]]:
    """The pairs of prompts whose rows are equal as captured."""
    geometry = audit.geometry(layer)
    near = geometry.near(0.0, limit=10_000)
    left, right = (geometry.prompt_of[side].tolist() for side in (near.left, near.right))
    return {(min(pair), max(pair)) for pair in zip(left, right, strict=True)}


def _judged(audit: Audit, prompts: PromptSet, folder: Path) -> Verdict:
    """The verdict of a subset, by the same model."""
    one = _audit(folder, audit.config.prompts, audit.config.dtype)
    one.target.adopt(audit.decoder)
    one.target.use_prompts(prompts)
    return one.check_no_collisions()


def _audit(folder: Path, source: str, dtype: str) -> Audit:
    return Audit(
        AuditConfig(
            model=str(folder),
            prompts=source,
            overlong="drop",
            dtype=dtype,
            device="cpu",
            layers="all",
            no_cache=True,
        )
    )


COLUMNS = (
    "model, dtype",
    "prompts",
    "red subsets",
    "planted pairs found, by layer",
    "other pairs not resolved",
    "met",
)


def subsets(models: Sequence[Path], source: str, dtypes: Sequence[str]) -> str:
    """Subsets of natural prompts and planted collisions of each model in each dtype, as a table."""
    found = []
    for folder in models:
        for dtype in dtypes:
            found.append(of_model(folder, source, dtype))
            told(f"{folder.name} {dtype}: {len(found[-1].red)} red, planted {found[-1].found}")
    return markdown(
        f"{SUBSETS} subsets of natural prompts, all layers; {PLANTED} prompts with a twin, which has a"
        " token of equal row",
        COLUMNS,
        (
            (
                f"{one.model}, {one.dtype}",
                f"{one.prompts}",
                f"{len(one.red)} of {one.subsets}",
                f"{', '.join(map(str, one.found))} of {one.planted}",
                f"{one.others}",
                "yes" if one.met else "no",
            )
            for one in found
        ),
    )
