from pytest_injectivity.reports.page.layers import models
from pytest_injectivity.reports.page.overview import overview
from pytest_injectivity.results.run_results import ModelResults
from pytest_injectivity.results.verdict import Status
from tests.reports.pages import reason, verdict

EVERY = models([("", ModelResults())])
GREEN = verdict(reason("layer01"), reason("norm"), check="one")


def test_each_check_is_shown_at_each_layer() -> None:
    """A layer that it did not judge is blank."""
    red = verdict(reason("norm", Status.FAIL), reason("layer02", Status.INSUFFICIENT), check="two")
    (found,) = overview(EVERY, [GREEN, red])
    assert ("layer01", "layer02", "norm") == found.columns
    assert {
        "one": ["good", "none", "good"],
        "two": ["none", "unsure", "bad"],
    } == {
        name: [cell.look for cell in cells]
        for name, cells in zip(found.rows, found.cells, strict=True)
    }


def test_the_head_is_last() -> None:
    """Behind the norm."""
    other = verdict(reason("head"), check="next_token_kept")
    (found,) = overview(EVERY, [GREEN, other])
    assert ("layer01", "norm", "head") == found.columns


def test_of_several_verdicts_the_worst_is_shown() -> None:
    """Whichever was first."""
    red = verdict(reason("norm", Status.FAIL), reason("layer01"), check="one")
    other = verdict(reason("norm"), check="two")
    found = [overview(EVERY, [*order, other])[0] for order in ((GREEN, red), (red, GREEN))]
    assert [["good", "bad"]] * 2 == [[cell.look for cell in one.cells[0]] for one in found]


def test_releases_are_no_layers() -> None:
    """And one check is no overview."""
    release = verdict(reason("identity@2", unit="release"), check="two")
    assert () == overview(EVERY, [GREEN, release])


def test_models_have_a_map_each() -> None:
    """Of what was judged of them."""
    pairs = [
        verdict(reason("layer01"), reason("norm"), check=check, model=model)
        for model in ("a", "b")
        for check in ("one", "two")
    ]
    found = overview(models([("a", ModelResults()), ("b", ModelResults())]), pairs)
    assert ["Verdicts by layer, a", "Verdicts by layer, b"] == [one.title for one in found]
