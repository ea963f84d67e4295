"""On how many prompts and tokens releases are measured."""

from typing import NamedTuple, TypedDict


class SizeOptions(TypedDict, total=False):
    """On how much releases are measured.

    Attributes:
        prompts: how many, drawn by hash from those with enough tokens; 50 by default.
        tokens: their length; longer prompts are cut to it. None, the default: 20, or 3 where the last
            state alone is observed, which attackers read up to so many tokens.
        free_running: prompts that attackers also read behind their own answers, which takes longest: 20
            by default; 0 leaves out the attackers that know no other way.
        attacker: what the attackers compute with: a checkpoint, or a dtype the audited one is loaded
            in (``bfloat16``); None, the default: the sender's own weights.
    """

    prompts: int
    tokens: int | None
    free_running: int
    attacker: str | None


class Size(NamedTuple):
    """The same, decided."""

    prompts: int
    tokens: int
    free_running: int
    attacker: str | None

    def __str__(self) -> str:
        return f"{self.prompts} prompts of {self.tokens} tokens, {self.free_running} free-running"
