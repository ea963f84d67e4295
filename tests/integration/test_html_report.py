import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import SECRETS, Run
from tests.integration.support import GATE, PROMPTS, output
from tests.reports.pages import Element, read


def _page(pytester: pytest.Pytester) -> Element:
    return read((pytester.path / "r.html").read_text(encoding="utf-8"))


def test_the_page_of_a_red_run(audited: Run, pytester: pytest.Pytester) -> None:
    """The verdict, the layers, the figures and the command."""
    result = audited(GATE, "--injx-report=html:r.html")
    page = _page(pytester)
    titles = [one.text for one in page.all("h3")]
    sections = [one.text for one in page.all("h2")]
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert ["Red: 1 of 4 verdicts is not PASS"] == [one.text for one in page.all("h1")]
    assert "layer02 (margin_above)" in page.all("dl")[0].text
    assert "pytest test_suite.py::test_margin --injx-model=" in page.all("dl")[0].text
    assert {"Separation margin, 1 % quantile", "Verdicts by layer"} <= {*titles, *sections}
    assert 2 == sum(one.startswith("Distances to the nearest prompt, ") for one in titles)


def test_several_models_have_one_page(
    pytester: pytest.Pytester, checkpoint: Callable[[str], Path], texts: list[str]
) -> None:
    """Each with its name, side by side."""
    (pytester.path / "p.txt").write_text("\n".join(texts))
    pytester.makepyfile(test_suite=GATE)
    models = [f"--injx-model={checkpoint(name)}" for name in ("generic", "deep")]
    pytester.runpytest_inprocess(*models, "--injx-prompts=p.txt", "--injx-report=html:r.html")
    facts = next(one for one in _page(pytester).all("table") if one.look == "facts")
    assert ["generic", "deep"] == [one.text for one in facts.all("thead")[0].all("th")]


def test_the_page_holds_no_prompt(audited: Run, pytester: pytest.Pytester) -> None:
    """Nor the ids that are its text."""
    audited(GATE, "--injx-report=html:r.html", model="planted", prompts=PROMPTS)
    text = (pytester.path / "r.html").read_text()
    told = [word for word in SECRETS if word in text]
    told += [word for word in SECRETS if ", ".join(map(str, word.encode()[:4])) in text]
    assert [] == told


def test_a_models_name_is_a_text(
    pytester: pytest.Pytester, checkpoint: Callable[[str], Path], texts: list[str]
) -> None:
    """A folder may be called anything."""
    name = "a<img src=x onerror=y>'\"{{ 7 }}\n# ##[error]x"
    (pytester.path / name).symlink_to(checkpoint("generic"), target_is_directory=True)
    (pytester.path / "p.txt").write_text("\n".join(texts))
    pytester.makepyfile(test_suite=GATE)
    pytester.runpytest_inprocess(
        f"--injx-model={name}", "--injx-prompts=p.txt", "--injx-report=html:r.html"
    )
    page = _page(pytester)
    assert [] == page.all("img", "script")
    assert "a<img src=x onerror=y>'\"{{ 7 }}\\n# ##\\x5berror]x" in page.text


def test_without_the_extra_the_run_does_not_begin(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page could not be written at its end."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = audited(GATE, "--injx-report=html:r.html")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "install pytest-injectivity[html]" in output(result)
    assert not (pytester.path / "r.html").exists()
