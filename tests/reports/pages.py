"""Results to make pages of, and a reader of pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.results.outcome import FailedTest, Outcome
from pytest_injectivity.results.run_results import NamedResults, RunResults
from pytest_injectivity.results.summary import Comparison, Estimate, LayerSummary, RunSummary
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.recordings import RUN

_VOID = {"meta", "br", "img", "link", "input"}


@dataclass
class Element:
    """An element of a page.

    Attributes:
        tag: its name.
        attributes: by name.
        inside: the elements in it.
        text: everything it says, that of the elements in it included.
    """

    tag: str
    attributes: dict[str, str]
    inside: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, *tags: str) -> list["Element"]:
        """The elements of these names, at any depth, in their order."""
        found = []
        for one in self.inside:
            found += [one] if one.tag in tags else []
            found += one.all(*tags)
        return found

    @property
    def look(self) -> str:
        """Its class."""
        return self.attributes.get("class", "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = Element(tag, {name: text or "" for name, text in attrs})
        self.open[-1].inside.append(one)
        if tag not in _VOID:
            self.open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = Element(tag, {name: text or "" for name, text in attrs})
        self.open[-1].inside.append(one)

    def handle_endtag(self, tag: str) -> None:
        last = self.open.pop()
        assert tag == last.tag, f"<{last.tag}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one.text += data


def read(page: str) -> Element:
    """A page as elements; one that is closed by another is an error."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert [reader.root] == reader.open
    return reader.root


def run(text: str = "some/model", **given: object) -> RunSummary:
    """What was audited, under this name."""
    return RunSummary(**{**RUN, "model": text, "dropped": {}, **given})


def layer(name: str, bits: int | None = None, **given: object) -> LayerSummary:
    """A measured layer."""
    numbers = {"mean_norm": 4.0, "collisions": 0, "resolution": 1e-5, "error": 1e-5, "margin": 0.5}
    numbers |= {"margin_q": 1.0, "normalized_margin_q": 0.25, "colipschitz_q": 0.5}
    numbers |= {"normalized_colipschitz_q": 0.125, "near_fractions": {"0.01": 0.25, "0.001": 0.0}}  # type: ignore[dict-item] # a ladder
    if bits is None:
        spread = {"0": 0.5, "0.01": 1.0, "0.05": 1.25, "0.25": 1.5, "0.5": 2.0}
        numbers["nearest_counts"] = {"0.501": 1, "1": 2, "1.58": 5, "2": 3, "7.94": 1}  # type: ignore[assignment] # as above
        numbers["nearest"] = spread | {"0.75": 3.0, "0.95": 4.0, "0.99": 5.0, "1": 8.0}  # type: ignore[assignment] # as above
    return LayerSummary(name, bits, 12, numbers={**numbers, **given})  # type: ignore[dict-item] # as above


def comparison(name: str, kept: float = 0.5) -> Comparison:
    """A layer that was compared with the parent's."""
    share = Estimate(kept, kept / 2, 2 * kept)
    return Comparison(
        layer=name,
        n=12,
        not_finite=0,
        reference_not_finite=0,
        margin=share,
        normalized_margin=share,
        colipschitz=share,
        normalized_colipschitz=share,
        new_collisions=0,
        drift_median=0.01,
        drift_q99=0.02,
        drift_max=0.03,
        resolution=1e-5,
        reference_resolution=1e-5,
        block_error=0.04,
        weight_error=0.05,
    )


def reason(
    where: str, status: Status = Status.PASS, value: float = 1.0, text: str = "", **given: object
) -> Reason:
    """What a layer contributes to a verdict on its margin."""
    evidence = (f"closest pair: prompt 1 (abc, 3 tokens) and prompt 2 (def, 4 tokens){text}", text)
    return Reason(
        where,
        status,
        "separation margin (q=0.01)",
        value,
        0.75,
        ">=",
        evidence=evidence,
        interval=Interval(value / 2, 2 * value, 0.95),
        would_pass=f"a bound of at most {value}{text}",
        **given,  # type: ignore[arg-type] # fields of a reason
    )


def verdict(
    *reasons: Reason, check: str = "margin_above", text: str = "", model: str = ""
) -> Verdict:
    """A verdict with these reasons."""
    name = f"{check}{text}"
    return Verdict(name, reasons, f"subject{text}", f"pytest t.py::{name}", (text,), (text,), model)


def red(*verdicts: Verdict) -> Outcome:
    """How a run ends in which a test failed by each verdict that is not PASS."""
    failed = [one for one in verdicts if not one.passed]
    return Outcome(1, failed=tuple(FailedTest("t.py::t", "t.py", 1, (one,)) for one in failed))


def names(layers: int) -> list[str]:
    """The names of so many blocks and of the norm."""
    return [*(f"layer{at:02d}" for at in range(1, layers + 1)), "norm"]


def several(models: Sequence[str], layers: int = 2, checks: int = 1, text: str = "") -> RunResults:
    """A run of several models, each measured, compared and judged at every layer."""
    every = names(layers)
    judged = [
        verdict(
            *(
                reason(one, Status.FAIL if at else Status.PASS, 0.5 + at, text)
                for at, one in enumerate(every)
            ),
            check=f"check_{check}",
            model=model,
            text=text,
        )
        for model in models
        for check in range(checks)
    ]
    return RunResults(
        models=tuple(
            NamedResults(
                name=model,
                run=run(model + text, reference=f"parent{text}"),
                layers=tuple(
                    layer(one, bits, margin_q=1.0 + at)
                    for at, one in enumerate(every)
                    for bits in (None, 4)
                ),
                comparisons=tuple(comparison(one) for one in every),
            )
            for model in models
        ),
        verdicts=tuple(judged),
        said=(f"a sentence{text}",),
        outcome=red(*judged),
    )
