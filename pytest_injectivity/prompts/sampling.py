"""Chooses the prompts of a source that go into a prompt set, and counts the others by reason.

Prompts are taken one by one, so that a file larger than memory can be sampled: of all prompts only
their 32-byte hashes are kept, and of the sample no more than ``max_prompts``.

The sample consists of the prompts whose hashes, salted with the seed, are smallest. It does not
depend on the order of the file, another seed gives another sample, and a smaller sample is part of
a larger one.
"""

import hashlib
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.losses import Restoring, SeenPrompts, TextLosses
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.promptset import PromptSet, prompt_hash
from pytest_injectivity.prompts.settings import Settings

# A heap entry: rank in the sample (negated, so that the top is the largest), order, ids, text.
_Kept = tuple[int, int, tuple[int, ...], str | None]


@dataclass
class Sieve:
    """Takes prompts with their special tokens one by one, and counts those that it does not keep."""

    settings: Settings
    rows: int = 0
    duplicates: int = 0
    overlong: int = 0
    empty: int = 0
    leftover_tokens: int = 0
    left_out: int = 0
    longest: int = 0
    longest_is_cut: bool = False
    seen: SeenPrompts = field(default_factory=SeenPrompts)
    _kept: list[_Kept] = field(default_factory=list)
    _ints: dict[int, int] = field(default_factory=dict)

    def offer(
        self, ids: tuple[int, ...], text: str | None, place: Place, *, whole: bool = True
    ) -> None:
        """Keeps a prompt, or counts the reason why it is dropped.

        Args:
            ids: its token ids, special tokens included.
            text: its text; None where the source gave ids, or of a window.
            place: where it stands.
            whole: False where the ids are only its beginning, which exceeds the context.

        Raises:
            PromptError: an id is outside the model's embedding.
        """
        check_ids(ids, self.settings.vocab_size, f"prompt {self.rows - 1} ({place})")
        self.longest = max(self.longest, len(ids))
        self.longest_is_cut |= not whole
        context = self.settings.context
        if context is not None and len(ids) > context:
            self.overlong += 1
            return
        digest = prompt_hash(ids)
        known = self.seen.add(bytes.fromhex(digest), text, place)
        if known != "new":
            self.duplicates += known == "duplicate"
            return
        rank = int.from_bytes(salted(self.settings.seed, digest), "big")
        # Tokenizers make a new int a token, 32 bytes each; one an id is enough.
        entry = (-rank, len(self.seen), tuple(map(self._ints.setdefault, ids, ids)), text)
        if self.settings.max_prompts is None or len(self._kept) < self.settings.max_prompts:
            heappush(self._kept, entry)
        else:
            heappushpop(self._kept, entry)
            self.left_out += 1

    def prompt_set(
        self,
        name: str,
        *,
        special_tokens: bool,
        notes: tuple[str, ...] = (),
        restoring: Restoring | None = None,
    ) -> PromptSet:
        """The prompts that were kept, in the order of the source.

        Args:
            name: the source's name.
            special_tokens: whether special tokens were added.
            notes: how the source was read.
            restoring: which texts the tokenizer gave back; None where there were no texts.

        Raises:
            PromptError: prompts exceed the context and are to be refused, or fewer than 2 are left.
        """
        least = "at least " if self.longest_is_cut else ""
        if self.overlong and self.settings.overlong == "refuse":
            raise PromptError(
                f"{name}: {self.overlong} of its prompts are longer than the model's context of"
                f" {self.settings.context} tokens, the longest has {least}{self.longest}: shorten them,"
                " drop them with --injx-overlong=drop, or cut all texts into windows with"
                " --injx-length"
            )
        if len(self._kept) < 2:  # noqa: PLR2004 - a pair is what can collide
            raise PromptError("; ".join([self._too_few(name), *notes]))
        kept = sorted(self._kept, key=lambda entry: entry[1])
        texts = tuple(text for *_, text in kept if text is not None)
        return PromptSet(
            name=name,
            ids=tuple(ids for *_, ids, _ in kept),
            texts=texts or None,
            special_tokens=special_tokens,
            dropped_duplicates=self.duplicates,
            dropped_overlong=self.overlong,
            dropped_empty=self.empty,
            dropped_tokens=self.leftover_tokens,
            left_out=self.left_out,
            losses=self._losses(restoring or Restoring(lambda _ids: "")),
            notes=notes,
        )

    def _losses(self, restoring: Restoring) -> TextLosses:
        return TextLosses(
            self.seen.indistinguishable,
            self.seen.pair,
            restoring.looked_at,
            restoring.not_restored,
            restoring.where,
        )

    def _too_few(self, name: str) -> str:
        length = self.settings.length
        windows = (
            f" (cut into windows of {length}, with {self.leftover_tokens} tokens left over)"
            if length is not None
            else ""
        )
        return (
            f"{name}: {len(self._kept)} distinct of {self.rows} prompts read{windows}: dropped"
            f" {self.duplicates} as duplicates, {self.seen.indistinguishable} as texts that the"
            f" tokenizer cannot tell from others, {self.overlong} as longer than the context,"
            f" {self.empty} as empty; at least 2 distinct prompts are needed"
        )


def salted(seed: int, digest: str) -> bytes:
    """A prompt's rank in the sample of a seed: its hash, hashed again together with the seed."""
    return hashlib.sha256(f"{seed}:{digest}".encode("ascii")).digest()


def check_ids(ids: tuple[int, ...], vocab_size: int | None, place: str) -> None:
    """Checks that every id has a row in the model's embedding.

    Raises:
        PromptError: one has none; the message names it.
    """
    if vocab_size is not None and max(ids) >= vocab_size:
        raise PromptError(
            f"{place}: token id {max(ids)} is outside the model's embedding of {vocab_size} rows"
            f" (ids 0 to {vocab_size - 1}): the tokenizer or the ids do not fit this model"
        )
