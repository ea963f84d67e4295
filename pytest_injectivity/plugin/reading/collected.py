"""Reads which checks the collected tests call, from their source and that of their fixtures."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_injectivity.audit.releases.release_size import SizeOptions
from pytest_injectivity.plugin.parameters import LayerOf
from pytest_injectivity.plugin.reading.reader import Noted, Reader
from pytest_injectivity.plugin.reading.values import UNKNOWN, AuditValue, Method, Unknown, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_injectivity.results.verdict import Verdict

# What a fixture of the plugin stands for: the audit, or one of its attributes.
_AUDIT = "injx"
_OF_AUDIT = {"injx_geometry": "geometry"}
_MEASURES = {
    "states": "no_collisions",
    "geometry": "no_collisions",
    "layer_summary": "no_collisions",
    "trend": "no_collisions",
    "comparison": "margin_retained",
    "cross_inversion": "not_read_by_reference",
    "next_token": "next_token_kept",
    "sipit_rates": "sipit_recovers",
}
"""Methods of the audit that need what a check needs."""

_IGNORED = {"in_precision", "unload", "name_of", "reproduce", "run_summary", "news", "verdict"}


@dataclass(frozen=True)
class Read:
    """What is known of the collected tests.

    Attributes:
        calls: the calls of checks: the name of the check, and the arguments that are known.
        unforeseen: sentences on what is not known.
        tests: how many tests call a check.
    """

    calls: tuple[tuple[str, Mapping[str, Any]], ...]
    unforeseen: tuple[str, ...]
    tests: int


def read_tests(
    items: Sequence[pytest.Item],
    checks: "Mapping[str, Callable[..., Verdict]]",
    known: Mapping[str, Any],
) -> Read:
    """Read the checks that tests call; nothing of the tests is run.

    Args:
        items: the collected tests.
        checks: the checks by name.
        known: attributes of the audit by name, such as ``n_layers``.
    """
    calls: list[tuple[str, Mapping[str, Any]]] = []
    unforeseen: dict[str, list[str]] = {}
    counted = 0
    for item in items:
        reading = _Reading(item, checks, AuditValue(known))
        found = reading.calls()
        calls += found
        counted += bool(found)
        for sentence in reading.unforeseen(found):
            unforeseen.setdefault(sentence, []).append(item.nodeid.partition("[")[0])
    said = tuple(_of_tests(sentence, tests) for sentence, tests in unforeseen.items())
    return Read(tuple(calls), said, counted)


def _of_tests(sentence: str, tests: Sequence[str]) -> str:
    """A sentence with the tests it is about."""
    first, *others = dict.fromkeys(tests)
    more = f" and {len(others)} more tests" if others else ""
    return f"{sentence} ({first}{more})"


class _Reading:
    """Reads one test."""

    def __init__(
        self,
        item: pytest.Item,
        checks: "Mapping[str, Callable[..., Verdict]]",
        audit: AuditValue,
    ) -> None:
        self._item = item
        self._checks = checks
        self._audit = audit
        self._reader = Reader()
        self._fixtures: dict[str, Any] = {}
        self._partly: set[str] = set()

    def calls(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The checks that the test and its fixtures call."""
        function = getattr(self._item, "function", None)
        names: Sequence[str] = getattr(self._item, "fixturenames", ())
        for name in names:  # fixtures that nobody names as an argument may call checks too
            self._fixture(name)
        if function is not None:
            wanted = inspect.signature(function).parameters
            self._reader.follow(function, {name: self._fixture(name) for name in wanted})
        found = map(self._call, self._reader.noted)
        return [one for one in found if one is not None]

    def unforeseen(self, found: Sequence[object]) -> list[str]:
        """Sentences on what the test does that could not be read."""
        every = set(getattr(self._item, "fixturenames", ()))
        audits = {name for name in every if name.startswith(("injx", "assert_"))}
        function = getattr(self._item, "function", None)
        if function is not None:  # what it names itself says more than what its fixtures name
            audits = audits.intersection(inspect.signature(function).parameters) or audits
        said = sorted(self._partly)
        if audits and not found and not said:
            said.append(f"what a test computes with {', '.join(sorted(audits))}")
        return said

    def _fixture(self, name: str) -> Any:
        """The value of a fixture, or of a parameter of the test, as far as it is known."""
        if name not in self._fixtures:
            self._fixtures[name] = UNKNOWN  # of a fixture that asks for itself
            self._fixtures[name] = self._made(name)
        return self._fixtures[name]

    def _made(self, name: str) -> Any:
        spec = getattr(self._item, "callspec", None)
        params: Mapping[str, Any] = {} if spec is None else spec.params
        if name == _AUDIT:
            return self._audit
        if name in _OF_AUDIT:
            return Method(_OF_AUDIT[name], self._audit)
        if name.startswith("assert_") and name.removeprefix("assert_") in self._checks:
            return Method(name, self._audit)
        given = params.get(name, UNKNOWN)
        if isinstance(given, LayerOf):
            given = given.layer
        info: Any = getattr(self._item, "_fixtureinfo", None)
        defined = () if info is None else info.name2fixturedefs.get(name, ())
        own = [one for one in defined if not one.func.__module__.startswith(("_pytest", "pytest_"))]
        if not own or name.startswith("injx_"):
            return given if is_plain(given) else UNKNOWN
        return self._followed(own[-1].func, given)

    def _followed(self, function: Any, param: Any) -> Any:
        """What a fixture of the user's returns."""
        request = AuditValue({"param": param if is_plain(param) else UNKNOWN})
        wanted = inspect.signature(function).parameters
        return self._reader.follow(
            function,
            {name: request if name == "request" else self._fixture(name) for name in wanted},
        )

    def _call(self, noted: Noted) -> tuple[str, Mapping[str, Any]] | None:
        """A call of a check, by the names of its parameters; None for other methods."""
        name = noted.method.removeprefix("check_").removeprefix("assert_")
        if name in {"exposures", "sweep"}:
            return "not_recoverable", self._known(_released(noted), "not_recoverable")
        check = self._checks.get(_MEASURES.get(name, name))
        if check is None:
            if noted.method not in _IGNORED:
                self._partly.add(f"what {noted.method} computes")
            return None
        given = noted.given
        if name in _MEASURES:  # of these only the layer is what the check calls so
            return _MEASURES[name], self._known(dict(zip(("layer",), given, strict=False)), name)
        names = list(inspect.signature(check).parameters)[1:]
        return name, self._known(dict(zip(names, given, strict=False)) | dict(noted.named), name)

    def _known(self, arguments: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """The arguments that are known; it is said where what is measured depends on others."""
        sizes = {
            "layer",
            "layers",
            "wires",
            "certify",
            "over",
            "pairs",
            "positions",
            "bits",
            "checkpoints",
            *SizeOptions.__annotations__,
        }
        unknown = {one for one in sizes & arguments.keys() if not is_plain(arguments[one])}
        if unknown:
            self._partly.add(f"{', '.join(sorted(unknown))} of {name}: the defaults are assumed")
        return {
            key: value
            for key, value in arguments.items()
            if key not in unknown and not isinstance(value, Unknown)
        }


def _released(noted: Noted) -> Mapping[str, Any]:
    """The arguments of a measurement of releases, named as those of a check are."""
    names = ("release", "strengths") if noted.method == "sweep" else ("releases",)
    arguments = dict(zip(names, noted.given, strict=False)) | dict(noted.named)
    release = arguments.pop("releases", arguments.pop("release", UNKNOWN))
    if noted.method == "sweep":
        strengths = arguments.pop("strengths", UNKNOWN)
        known = isinstance(release, str) and isinstance(strengths, (list, tuple))
        release = [release.replace("?", str(one)) for one in strengths] if known else UNKNOWN
    return arguments | {"release": release}
