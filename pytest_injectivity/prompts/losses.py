"""What a tokenizer loses of texts: it may make one prompt of two, and give back another text.

The map from a text to a state begins with the tokenizer. Where it is not injective (it drops characters,
strips accents or case, has one token for all that it does not know) different texts are one prompt, and
no later step can tell them apart.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.prompts.place import Place

Known = Literal["new", "duplicate", "indistinguishable"]


@dataclass(frozen=True)
class TextLosses:
    """What the tokenizer lost of the texts of a prompt set.

    Attributes:
        indistinguishable: texts dropped because an earlier, different text has the same token ids.
        pair: the places of the first two such texts; empty where there are none.
        looked_at: texts of which the token ids were decoded again.
        not_restored: those of them that came back as another text.
        where: the place of the first of these; empty where there is none.
    """

    indistinguishable: int = 0
    pair: tuple[str, ...] = ()
    looked_at: int = 0
    not_restored: int = 0
    where: str = ""

    def with_another(self) -> "TextLosses":
        """These losses, and one more text that cannot be told from another."""
        return replace(self, indistinguishable=self.indistinguishable + 1)

    def lines(self) -> Iterator[str]:
        """A sentence on each kind of loss that there is."""
        if self.indistinguishable:
            count = number_of(self.indistinguishable, "text")
            both = f", such as {' and '.join(self.pair)}" if self.pair else ""
            yield (
                f"{count} {verb(self.indistinguishable, 'has', 'have')} the token ids of another text:"
                f" this tokenizer cannot tell them apart{both}"
            )
        if self.not_restored:
            yield (
                f"{self.not_restored:,} of the {number_of(self.looked_at, 'text')} looked at"
                f" {verb(self.not_restored, 'comes', 'come')} back from this tokenizer as another text,"
                f" {self.where} first: what is recovered of a prompt is its token ids"
            )


@dataclass
class SeenPrompts:
    """The prompts seen so far, by their hashes, each with a hash of the text it came from.

    Of each prompt 32 bytes and three numbers are kept.
    """

    indistinguishable: int = 0
    pair: tuple[str, ...] = ()
    _at: dict[bytes, int] = field(default_factory=dict)
    _texts: "array[int]" = field(default_factory=lambda: array("q"))
    _numbers: "array[int]" = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self._at)

    def add(self, digest: bytes, text: str | None, place: Place) -> Known:
        """Say whether a prompt is new; a prompt of the same ids from another text is counted.

        Args:
            digest: the hash of its token ids.
            text: what it was tokenized from; None where it was not.
            place: where it stands.
        """
        index = self._at.setdefault(digest, len(self._at))
        if index == len(self._texts):
            self._texts.append(hash(text))
            self._numbers.append(place.number)
            return "new"
        if hash(text) == self._texts[index]:
            return "duplicate"
        self.indistinguishable += 1
        self.pair = self.pair or (str(place.at(self._numbers[index])), place.part)
        return "indistinguishable"


@dataclass
class Restoring:
    """Decodes the token ids of the first texts, and counts those that come back as another text."""

    decode: Callable[[tuple[int, ...]], str]
    most: int = 512
    looked_at: int = 0
    not_restored: int = 0
    where: str = ""

    def look_at(self, text: str, body: tuple[int, ...], place: Place) -> None:
        """Decode the ids of a text, unless enough were."""
        if self.looked_at >= self.most:
            return
        self.looked_at += 1
        if self.decode(body) != text:
            self.not_restored += 1
            self.where = self.where or str(place)
