"""Gathers prompts that are made from other prompts into a set, family by family."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.prompts.sampling import salted
from pytest_injectivity.prompts.settings import Settings

CHALLENGE_PROMPTS = 1000
_OF_TEXTS = frozenset({"base", "newline", "space", "punctuation", "case", "number"})


@dataclass(frozen=True, slots=True)
class Variant:
    """A prompt made from another.

    Attributes:
        kind: how it was made; ``"base"`` of the other prompt itself.
        base: the other prompt's hash.
        ids: its token ids, special tokens included.
        text: its text; None where there is none.
    """

    kind: str
    base: str
    ids: tuple[int, ...]
    text: str | None

    def is_lost_in(self, other: "Variant") -> bool:
        """Whether both were made as texts, and of different texts the tokenizer makes equal ids."""
        of_texts = _OF_TEXTS.issuperset((self.kind, other.kind))
        return of_texts and self.text is not None and self.text != other.text


def gathered(
    base: PromptSet,
    settings: Settings,
    family: Callable[[int], Iterator[Variant]],
    *,
    name: str,
    what: str,
) -> PromptSet:
    """A set of the families of as many bases as it takes.

    Bases come in the order of their salted hashes, so that which they are depends on the seed and not
    on the base's order.

    Args:
        base: the prompts that variants are made of.
        settings: as many as ``max_prompts`` variants are taken, 1,000 by default.
        family: the variants of a base, by its index.
        name: what the set is called, between the brackets of ``builtin:challenge()``.
        what: what a variant is, for the message.

    Raises:
        PromptError: there is no variant but bases.
    """
    limit = settings.max_prompts or CHALLENGE_PROMPTS
    kept: dict[tuple[int, ...], Variant] = {}
    duplicates = families = 0
    losses = base.losses
    for index in sorted(range(len(base)), key=lambda i: salted(settings.seed, base.hashes[i])):
        if len(kept) >= limit:
            break
        families += 1
        for variant in family(index):
            if variant.ids in kept:
                if variant.is_lost_in(kept[variant.ids]):
                    losses = losses.with_another()
                else:
                    duplicates += 1
            elif len(kept) < limit:
                kept[variant.ids] = variant
    if all(variant.kind == "base" for variant in kept.values()):
        raise PromptError(
            f"{base.name}: no {what} of its {len(base)} prompts can be made within"
            f" length {settings.length}, context {settings.context} and {limit} prompts"
        )
    variants = tuple(kept.values())
    texts = tuple(variant.text for variant in variants if variant.text is not None)
    return replace(
        base,
        name=f"builtin:challenge({name})",
        ids=tuple(kept),
        texts=texts or None,
        kinds=tuple(variant.kind for variant in variants),
        bases=tuple(variant.base for variant in variants),
        dropped_duplicates=base.dropped_duplicates + duplicates,
        left_out=base.left_out + len(base) - families,
        losses=losses,
    )
