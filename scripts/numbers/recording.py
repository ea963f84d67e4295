"""What every part of ``record_numbers.py`` shares: the settings of an audit, and the numbers found.

Every setting an audit has is named here or at the call, never left to its default, because a
refactoring may change defaults and must not change numbers. What an audit is asked for beside its
checks (layer summaries, comparisons, exposures) is asked for here alone, so that a refactoring of the
``Audit`` class needs few edits.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core.strict_json import plain

P = ParamSpec("P")
T = TypeVar("T")

CONFIDENCE = 0.95
Q = 0.01


@dataclass(frozen=True)
class Setting:
    """What is audited.

    Attributes:
        model: a folder's path or a built-in model's name.
        prompts: the path of a file of prompts, or a built-in set's name.
        count: a sample of at most so many prompts is audited.
        seed: of everything random.
        hash_key: keys the hashes that name prompts in evidence.
    """

    model: str
    prompts: str
    count: int
    seed: int
    hash_key: str

    def config(self, **changed: Any) -> AuditConfig:
        """The config of an audit: every setting that numbers depend on, apart from those changed."""
        settings: dict[str, Any] = {
            "model": self.model,
            "quantization": None,
            "activation_bits": None,
            "reference": None,
            "prompts": self.prompts,
            "max_prompts": self.count,
            "length": None,
            "overlong": "drop",
            "special_tokens": "auto",
            "prompt_metric": "levenshtein",
            "layers": "all",
            "states": None,
            "dtype": "float32",
            "device": "cpu",
            "batch_tokens": 4096,
            "memory_budget": "1GB",
            "no_cache": True,
            "seed": self.seed,
            "hash_key": self.hash_key,
            "baseline": None,
            "update_baseline": False,
            "release": (),
            "show_prompts": False,
        }
        return AuditConfig(**(settings | changed))

    def audit(self, **changed: Any) -> Audit:
        """A new audit, which shares nothing with another one."""
        return Audit(self.config(**changed))


@dataclass
class Found:
    """The numbers of one part, by the name of what was asked for.

    Attributes:
        numbers: plain data; an error stands as its class and message, so that an error that comes or
            goes is a difference too.
    """

    numbers: dict[str, Any] = field(default_factory=dict)

    def take(
        self, name: str, compute: Callable[P, object], /, *given: P.args, **options: P.kwargs
    ) -> None:
        """Computes something and keeps it as plain data.

        Args:
            name: of what is computed; each name once.
            compute: a check, or what else gives numbers.
            given: its arguments.
            options: its keyword arguments.

        Raises:
            ValueError: the name was used before.
        """
        if name in self.numbers:
            raise ValueError(f"{name!r} is recorded twice: give each its own name")
        try:
            self.numbers[name] = plain(compute(*given, **options))
        except Exception as error:  # noqa: BLE001 - what crashed before is to be seen crashing
            self.numbers[name] = {"error": f"{type(error).__name__}: {error}"}
            print(f"  {name}: {type(error).__name__}: {error}", file=sys.stderr)

    def each(
        self,
        name: str,
        compute: Callable[Concatenate[T, P], object],
        values: Iterable[T],
        /,
        *given: P.args,
        **options: P.kwargs,
    ) -> None:
        """The same for each of several first arguments, whose text is added to the name."""
        for value in values:
            self.take(f"{name} {value}", compute, value, *given, **options)


def run_of(audit: Audit) -> object:
    """What was audited."""
    return audit.run_summary()


def middle_of(audit: Audit) -> int:
    """The middle block of the model."""
    return max(1, audit.n_layers // 2)


def layers_of(audit: Audit, bits: int | str | None) -> list[object]:
    """The summary of each layer of the config, rounded to ``bits`` where they are given."""
    return [audit.layer_summary(layer, bits) for layer in audit.layers]


def trends_of(audit: Audit) -> list[object]:
    """How the numbers of each layer fall as the number of prompts grows."""
    return [audit.trend(layer) for layer in audit.layers]


def resolution_of(audit: Audit) -> list[object]:
    """The resolution of each layer, at position 0 and at the others."""
    return [
        [audit.resolution(layer).value, audit.resolution(layer).at(0)] for layer in audit.layers
    ]


def comparisons_of(child: Audit, layers: Iterable[int | str]) -> list[object]:
    """Each layer of a model held against its parent's."""
    return [child.comparison(layer) for layer in layers]


def exposures_of(audit: Audit, releases: list[Any], **size: Any) -> list[object]:
    """What every attacker reads of each release, and what use is left of it."""
    return [one.summary(CONFIDENCE) for one in audit.exposures(releases, **size)]


def updated(audit: Audit) -> tuple[str, ...]:
    """Writes the baseline that the audit has measured; gives sentences on what is new in it."""
    return audit.baseline.update()
