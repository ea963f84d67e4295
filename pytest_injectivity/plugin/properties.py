"""The findings of a test as properties of the test, which its report carries to the main process.

The properties named ``injx.…`` hold JSON texts, never pickles. Beside them each verdict has a readable
property for each layer or release, for people and CI pages that read JUnit.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_injectivity.audit.news import News

PREFIX = "injx."
VERDICT = "injx.verdict"
WRONG_USE = "injx.wrong_use"
OF_MODEL = "@"
"""Stands before the name of the model in the name of a property, where the run has several."""

AT = "injx_at"
"""The name under which a report carries the place of its test among those collected."""

INTERRUPTED = "injx_interrupted"
"""The name under which a report carries whether its test was interrupted in a worker."""

Property = tuple[str, object]

_OF_VERDICTS = pytest.StashKey[dict[str, list[Property]]]()


def properties_of(news: "News", model: str) -> Iterator[tuple[str, str]]:
    """The findings of an audit since the last call, apart from verdicts, as properties.

    Args:
        news: the findings.
        model: the name of the model; empty where the run has one.
    """
    from pytest_injectivity.core.strict_json import dumps

    of_model = f"{OF_MODEL}{model}" if model else ""
    if news.run is not None:
        yield f"{PREFIX}run{of_model}", dumps(news.run)
    for kind, found in (
        ("layer", news.layers),
        ("comparison", news.comparisons),
        ("release", news.releases),
    ):
        for one in found:
            yield f"{PREFIX}{kind}{of_model}", dumps(one)
    for sweep in news.sweeps:  # its points say themselves what they are of
        yield f"{PREFIX}sweep", dumps(sweep)


def verdict_properties(news: "News") -> Iterator[tuple[str, str]]:
    """The verdicts of an audit since the last call, and a readable number for each reason."""
    from pytest_injectivity.core.strict_json import dumps

    for verdict in news.verdicts:
        yield VERDICT, dumps(verdict)
        for reason in verdict.reasons:
            yield (
                verdict.of_model(f"{verdict.check}.{reason.where}"),
                f"{reason.value!r} {reason.status}",
            )


def used(option: str) -> tuple[str, str]:
    """The property that says that the value of an option was used."""
    return f"{PREFIX}used", option


def forget_earlier_attempt(item: pytest.Item) -> None:
    """Remove the verdicts of an earlier attempt at this test (pytest-rerunfailures makes several).

    Verdicts reached while fixtures were set up stay until the new attempt's setup reaches some of its
    own: a fixture of a wider scope than the test is not set up again.
    """
    of_phases = item.stash.get(_OF_VERDICTS, {})
    for phase in ("call", "teardown"):
        _remove(item, of_phases.pop(phase, []))


def tell(item: pytest.Item, phase: str, verdicts: list[Property], others: list[Property]) -> None:
    """Add the findings of a phase of a test to the test's properties."""
    of_phases = item.stash.setdefault(_OF_VERDICTS, {})
    if verdicts:
        _remove(item, of_phases.get(phase, []))
        of_phases[phase] = verdicts
    item.user_properties += [*others, *verdicts]


def sentence(text: str) -> tuple[str, str]:
    """The property that carries a sentence for people."""
    return f"{PREFIX}said", text


def _remove(item: pytest.Item, gone: list[Property]) -> None:
    kept = {id(one) for one in gone}
    item.user_properties[:] = [one for one in item.user_properties if id(one) not in kept]
