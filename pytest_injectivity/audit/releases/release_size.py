"""The number of prompts and tokens that releases are measured on."""

from collections.abc import Mapping
from numbers import Integral
from typing import NamedTuple, TypedDict

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError

_PROMPTS, _TOKENS, _FREE_RUNNING, _PRACTICE = 50, 20, 20, 500
_SHORT = 3
_BUDGET = 2**20
_LEAST = {
    "prompts": 1,
    "tokens": 1,
    "free_running": 0,
    "practice": 0,
    "known": 0,
    "queries": 1,
    "budget": 1,
}
# Sizes that may be None: by the place, and without a bound.
_OPEN = {"tokens", "budget"}


class SizeOptions(TypedDict, total=False):
    """Keyword arguments that say how much releases are measured on, and with which attacker's model.

    Attributes:
        prompts: number of prompts, drawn by hash from those with enough tokens; 50 by default.
        tokens: length of the prompts; longer ones are cut. None, the default: 20, or 3 where one row
            alone is observed (``last``, ``mean``), because no more tokens are searched together.
        free_running: number of prompts that are also read free-running, which takes longest; 20 by
            default. 0 leaves out the attackers that are run free-running only.
        practice: number of prompts of their own that attackers release and learn to read, which no
            attack is judged by; 500 by default. 0 leaves out the attackers that are trained.
        known: number of further prompts that attackers know together with what the sender released of
            them, under the secret that hides the others; 0 by default.
        queries: how many times the sender releases each prompt that is read, with draws of their own; 1
            by default.
        budget: about how many candidate tokens may be run through the model, for all prompts and
            releases of one call together; 1,048,576 by default. Where the whole vocabulary behind every
            prefix is more, likely candidates alone are run, and results say what that may have missed.
            None: always the whole vocabulary.
        attacker: the model that attackers compute with: a checkpoint, or a dtype to load the audited one
            in (``bfloat16``); None, the default: the sender's own weights.
    """

    prompts: int
    tokens: int | None
    free_running: int
    practice: int
    known: int
    queries: int
    budget: int | None
    attacker: str | None


class Size(NamedTuple):
    """The size of a measurement, with every default filled in."""

    prompts: int
    tokens: int
    free_running: int
    practice: int
    known: int
    queries: int
    budget: int | None
    attacker: str | None

    @classmethod
    def of(cls, place: Place, given: SizeOptions) -> "Size":
        """The size of the measurement of releases at a place.

        Args:
            place: of the releases.
            given: what was asked for; the rest is filled in.

        Raises:
            OptionError: see `check_size`.
        """
        check_size(given)
        tokens = given.get("tokens")
        default = _SHORT if place.one_row else _TOKENS
        return cls(
            prompts=given.get("prompts", _PROMPTS),
            tokens=default if tokens is None else tokens,
            free_running=given.get("free_running", _FREE_RUNNING),
            practice=given.get("practice", _PRACTICE),
            known=given.get("known", 0),
            queries=given.get("queries", 1),
            budget=given.get("budget", _BUDGET),
            attacker=given.get("attacker"),
        )

    def __str__(self) -> str:
        budget = "" if self.budget is None else f", {self.budget:,} candidates"
        return (
            f"{number_of(self.prompts, 'prompt')} of {number_of(self.tokens, 'token')},"
            f" {self.free_running} free-running, {self.practice} of practice, {self.known} known,"
            f" released {number_of(self.queries, 'time')}{budget}"
        )


def check_size(given: Mapping[str, object]) -> None:
    """Refuse a size that has a name or a value which is not accepted.

    Raises:
        OptionError: a name is none of `SizeOptions`, a number is no integer or too small, or the
            attacker's model is no text.
    """
    accepted = SizeOptions.__annotations__
    if unknown := [name for name in given if name not in accepted]:
        raise OptionError(
            f"got an unexpected keyword argument {unknown[0]!r}: a size has {', '.join(accepted)}"
        )
    for name, least in _LEAST.items():
        value = given.get(name, least)
        if name in _OPEN and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise OptionError(f"{name}={value!r}: give an integer of at least {least}")
    attacker = given.get("attacker")
    if attacker is not None and not (isinstance(attacker, str) and attacker.strip()):
        raise OptionError(f"attacker={attacker!r}: give a checkpoint or a dtype as text, or None")
