"""Counts the tokens that attacks on releases run, and the rows that they compare.

A table of the whole vocabulary is computed for each prefix, and all releases and attackers that stand
at the prefix share it. Where attackers go on from their own answers, a prefix is their own from the
first wrong answer on: at a half of the positions, it is assumed, whatever the release.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_injectivity.config.release_place import Place

_WRONG = 0.5
# Candidates of a position that the beam attacker tries, all its prefixes together.
_BEAM = 512
# Gaps of more tokens are not searched.
_LONGEST_GAP = 3
# A gap is searched by varying one token after the other; so many vocabularies are typical.
_VOCABULARIES_A_GAP = 20
# How many attackers compare a released row with all images, on one release.
_COMPARING = 6
# Where likely candidates alone are run: how many of them for a release and prefix (measured), and behind
# how many prefixes the whole vocabulary is run to measure radii.
_LIKELY = 200
_RADII, _FEWEST_RADII, _SHARE_OF_RADII = 256, 16, 8


@dataclass(frozen=True)
class Walk:
    """Releases that are attacked in one walk over the prompts.

    Attributes:
        places: of each release, its layer counted from the first.
        prompts: how many prompts.
        tokens: of each.
        free_running: how many prompts are also read free-running.
        budget: about how many candidates may be run; None: the whole vocabulary is.
    """

    places: Sequence[Place]
    prompts: int
    tokens: int
    free_running: int
    budget: int | None = None

    @property
    def prefixes(self) -> int:
        """Behind how many prefixes candidates are run, free runs of one release included.

        The first position has one for all prompts. From its first wrong answer on a free run has
        prefixes of its own.
        """
        later = self.tokens - 1
        return 1 + later * (self.prompts + min(self.free_running, self.prompts) // 2)

    def pruned(self, vocab: int) -> bool:
        """Whether likely candidates alone are run, of a vocabulary of so many tokens."""
        return self.budget is not None and self.prefixes * vocab > self.budget


@dataclass(frozen=True)
class AttackWork:
    """What a walk runs and compares.

    Attributes:
        candidates: tokens run behind a cached prefix.
        looks: how often an attacker looks at the released row of one prompt and position.
        compared: pairs of a released row and an image.
    """

    candidates: int
    looks: int
    compared: int

    @classmethod
    def of(cls, walk: Walk, vocab: int) -> "AttackWork":
        """The work of a walk with a model of so many tokens.

        Example:
            >>> AttackWork.of(Walk([Place(4)], prompts=2, tokens=3, free_running=0), 1000)
            AttackWork(candidates=5000, looks=36, compared=36000)
        """
        free = min(walk.free_running, walk.prompts)
        # The first position has one table for all prompts.
        prefixes = 1 + walk.prompts * (walk.tokens - 1)
        candidates, looks = 0.0, 0
        everywhere = [one for one in walk.places if one.everywhere]
        if everywhere:
            own = _WRONG * free * (walk.tokens - 1) * len(everywhere)
            each = vocab
            if walk.pruned(vocab) and walk.budget is not None:
                each = min(vocab, _LIKELY * len(everywhere), walk.budget // walk.prefixes)
                radii = min(_RADII, walk.budget // (_SHARE_OF_RADII * vocab))
                candidates += vocab * (1 + (radii if radii >= _FEWEST_RADII else 0))
            candidates += each * (prefixes + own)
            beamed = sum(one.of_states for one in everywhere)
            candidates += beamed * free * walk.tokens * min(_BEAM, vocab)
            looks = walk.tokens * (walk.prompts * _COMPARING + free) * len(everywhere)
        elif walk.places:
            # The schedule goes from position to position, whatever is compared there.
            candidates += prefixes
        for place in walk.places:
            gap = place.gap(walk.tokens)
            if not place.everywhere and place.of_states and gap <= _LONGEST_GAP:
                gaps = (walk.prompts + free) * max(1, walk.tokens // gap)
                candidates += _VOCABULARIES_A_GAP * gaps * gap * vocab
        return cls(round(candidates), looks, vocab * looks)
