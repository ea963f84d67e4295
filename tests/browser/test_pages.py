"""Pages in a real browser: nothing runs, nothing is fetched, and axe-core has no serious finding."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from pytest_injectivity import load_decoder
from pytest_injectivity.reports.history.page import history_html
from pytest_injectivity.reports.html import write_report
from pytest_injectivity.results.history.history import read_history
from pytest_injectivity.testing import save_checkpoint
from tests.browser.seen import look
from tests.pasts import past_report, verdict, written
from tests.reports.pages import several
from tests.reports.test_html import HOSTILE, RESULTS, hostile
from tests.yardstick import yardstick

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

PageOf = Callable[..., Path]
GATE = """
def test_collisions(injx):
    injx.assert_no_collisions()
    injx.check_no_collisions(bits=2)

def test_margins(injx):
    injx.assert_margin_above("all", 0.01, normalized=True)
    injx.assert_colipschitz_above("all", 1e-5, normalized=True)

def test_sipit(injx):
    injx.assert_sipit_recovers(2, prompts=2, tokens=6)
"""
PRIVACY = """
def test_private(injx):
    for release in ("identity@2", "round(bits=4)@2", "gaussian(sigma=1 rel)@2"):
        injx.check_utility_kept(release, 0.9, prompts=3, tokens=6)
        injx.check_not_recoverable(release, 0.1, prompts=3, tokens=6)
    injx.assert_not_recoverable("identity@2", 0.1, prompts=3, tokens=6)
"""
AGAINST_PARENT = """
def test_weights(injx):
    injx.assert_weight_error_below()

def test_blocks(injx):
    injx.assert_block_error_below()

def test_kept(injx):
    injx.assert_margin_retained("all", 0.4)
    injx.assert_state_drift_below("all", 0.7)
    injx.assert_next_token_kept(kl=0.5, top1=0.6)
"""
DAMAGED = "model.layers.15.mlp.down_proj.weight"
VIEWS = pytest.mark.parametrize(
    ("width", "scheme"), [(360, "light"), (1400, "light"), (1400, "dark")], ids=str
)


@VIEWS
def test_a_page_with_every_section(
    browser: "Browser", tmp_path: Path, width: int, scheme: str
) -> None:
    """On a phone, on a screen, in the dark: all of it is there, in one window's width."""
    write_report(tmp_path / "page.html", RESULTS)
    seen = look(browser, tmp_path / "page.html", width, scheme)
    assert ([], [], []) == (seen.said, seen.fetched, seen.grave)
    assert seen.checked > 15
    assert (width, 0) == (seen.width, seen.scrolled)


@VIEWS
def test_the_page_of_a_history(browser: "Browser", tmp_path: Path, width: int, scheme: str) -> None:
    """Numbers that drifted, a verdict that turned red, a file that is damaged."""

    def drifted(run: int, label: str, _metric: str) -> float:
        return 0.8 if (run, label) == (9, "norm") else 1.0

    reports = [past_report(run, drifted) for run in range(10)]
    judged = [
        {**one, "verdicts": [verdict("FAIL" if at == 9 else "PASS")]}
        for at, one in enumerate(reports)
    ]
    folder = written(tmp_path / "reports", judged)
    (folder / "damaged.json").write_text("{")
    (tmp_path / "page.html").write_text(history_html(read_history([folder])))
    seen = look(browser, tmp_path / "page.html", width, scheme)
    assert ([], [], [], width) == (seen.said, seen.fetched, seen.grave, seen.width)
    assert "Red" in seen.heading
    assert "margin_above is FAIL" in seen.text


def test_serious_findings_are_noticed(browser: "Browser", tmp_path: Path) -> None:
    """Axe-core looks: faint text, a fetched picture and a message are all seen."""
    page = '<h1 style="color:#ddd">faint</h1><img src="x.png"><script>console.log("said")</script>'
    (tmp_path / "page.html").write_text(page)
    seen = look(browser, tmp_path / "page.html")
    assert "said" in seen.said
    assert [(tmp_path / "x.png").as_uri()] == seen.fetched
    assert {"image-alt", "color-contrast"} <= {one.partition(":")[0] for one in seen.grave}


def test_hostile_texts_do_not_script_a_page(browser: "Browser", tmp_path: Path) -> None:
    """Names of models, evidence and prompts are shown as the texts they are."""
    write_report(tmp_path / "page.html", hostile(HOSTILE))
    seen = look(browser, tmp_path / "page.html", 360)
    assert ([], [], []) == (seen.said, seen.fetched, seen.grave)
    assert "<script>alert(1)</script>" in seen.text
    assert 360 == seen.width


def test_the_page_of_three_large_models(browser: "Browser", tmp_path: Path) -> None:
    """Of 32 layers each."""
    write_report(tmp_path / "page.html", several(["nf4", "awq", "int8"], layers=32, checks=4))
    seen = look(browser, tmp_path / "page.html", 360)
    assert ([], [], []) == (seen.said, seen.fetched, seen.grave)
    assert 360 == seen.width


def test_the_page_of_the_shipped_model(browser: "Browser", page_of: PageOf) -> None:
    """A green run."""
    seen = look(browser, page_of(GATE, "--injx-max-prompts=40"))
    assert "Green" in seen.heading
    assert ([], [], []) == (seen.said, seen.fetched, seen.grave)


def test_the_page_of_a_privacy_run(browser: "Browser", page_of: PageOf) -> None:
    """A red run: a release that hides nothing is read."""
    seen = look(browser, page_of(PRIVACY, "--injx-max-prompts=40"), 360)
    assert "Red" in seen.heading
    assert "Privacy and utility" in seen.text
    assert ([], [], [], 360) == (seen.said, seen.fetched, seen.grave, seen.width)


@pytest.mark.slow
def test_the_page_of_a_real_model_and_its_damaged_child(
    browser: "Browser", page_of: PageOf, tmp_path: Path
) -> None:
    """SmolLM2 in four bits, with one matrix that is 1.5 times too large."""
    decoder = load_decoder(str(yardstick()), device="cpu", dtype="bfloat16")
    parent = save_checkpoint(decoder, tmp_path / "parent")
    child = save_checkpoint(decoder, tmp_path / "damaged")
    weights = load_file(child / "model.safetensors")
    weights[DAMAGED] *= 1.5
    save_file(weights, child / "model.safetensors", metadata={"format": "pt"})
    flags = ("--injx-quantization=bnb-nf4", "--injx-dtype=float32", "--injx-max-prompts=8")
    page = page_of(AGAINST_PARENT, f"--injx-model={child}", f"--injx-reference={parent}", *flags)
    seen = look(browser, page, 360)
    assert "layer16" in seen.text
    assert ([], [], [], 360) == (seen.said, seen.fetched, seen.grave, seen.width)
    assert 0 == seen.scrolled
