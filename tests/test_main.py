"""The command ``pytest-injectivity``."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.__main__ import main
from pytest_injectivity.results import saved_runs
from pytest_injectivity.store.store import Store
from tests.light import LIGHT, without_torch
from tests.recordings import layer, report

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two entries."""
    made = Store(tmp_path / "store")
    for key in "ab":
        entry = made.entry(key, "code")
        (entry.folder / "filling").write_bytes(bytes(1000))
        entry.release()
    return made.folder


def test_purge_says_what_it_removed(store: Path, capsys: Printed) -> None:
    """Entries, bytes and the folder."""
    assert 0 == main(["purge", "--cache-dir", str(store)])
    assert f"removed 2 entries (2,000 bytes) of {store}\n" == capsys.readouterr().out
    assert not store.exists()


def test_purge_empties_the_users_own_store(
    store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no folder is named."""
    own = store.parent / "pytest-injectivity"
    store.rename(own)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own.parent))
    assert 0 == main(["purge"])
    assert f"of {own}\n" in capsys.readouterr().out
    assert not own.exists()
    assert 0 == main(["purge"])
    assert f"nothing to remove: {own} does not exist\n" == capsys.readouterr().out


def test_purge_leaves_what_is_in_use_and_says_so(store: Path, capsys: Printed) -> None:
    """A run that is going on keeps its entry."""
    entry = Store(store).entry("a", "code")
    assert 0 == main(["purge", "--cache-dir", str(store)])
    assert "; 1 in use were left\n" in capsys.readouterr().out
    assert entry.folder.exists()


@pytest.mark.parametrize("empty", [False, True])
def test_purge_removes_nothing_that_is_no_store(
    tmp_path: Path, capsys: Printed, *, empty: bool
) -> None:
    """A folder somebody names by mistake stays as it is, also one that looks a little like it."""
    folder = tmp_path / "home"
    (folder / "entries" / "thesis").mkdir(parents=True)
    (folder / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    if empty:
        folder = tmp_path / "empty"
        folder.mkdir()
    before = sorted(folder.rglob("*"))
    assert 4 == main(["purge", "--cache-dir", str(folder)])
    said = f"error: --cache-dir {folder} is not a store of this package: nothing was removed\n"
    assert said == capsys.readouterr().err
    assert before == sorted(folder.rglob("*"))
    assert folder.exists()


@pytest.mark.parametrize("arguments", [[], ["purify"], ["purge", "here"], ["purge", "--cache"]])
def test_wrong_use_is_exit_status_4(arguments: list[str], capsys: Printed) -> None:
    """As of pytest; argparse's own 2 would be an interrupted run."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 4 == caught.value.code
    assert "usage: pytest-injectivity" in capsys.readouterr().err


def test_an_interrupted_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """Exit status 2, as of pytest, and no traceback: Ctrl-C while a model is measured."""

    def interrupted(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_runs, "read_report", interrupted)
    assert 2 == main(["explain", "report.json"])
    assert ("", "error: interrupted\n") == tuple(capsys.readouterr())


def test_an_empty_name_is_wrong_use(capsys: Printed) -> None:
    """Such as an unset variable."""
    assert 4 == main(["purge", "--cache-dir", ""])
    assert "error: --injx-cache-dir: '' is empty: give a text\n" == capsys.readouterr().err


def test_help_says_how_sensitive_a_store_is() -> None:
    """And needs no torch."""
    code = (
        "import runpy, sys; sys.argv[1:] = ['purge', '--help']\n"
        "try: runpy.run_module('pytest_injectivity', run_name='__main__')\n"
        "finally: print('TORCH' if 'torch' in sys.modules else 'LIGHT')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - python itself
    assert "as sensitive as the prompts" in " ".join(done.stdout.split())
    assert done.stdout.endswith("LIGHT\n")


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Saves a report and says where."""

    def saved(*layers: dict[str, Any], **run: Any) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps(report(*layers, **run)))
        return str(path)

    return saved


def test_compare_of_equal_runs_is_green(saved: Callable[..., str], capsys: Printed) -> None:
    """Exit status 0, a table, nothing worse."""
    assert 0 == main(["compare", saved(), saved()])
    printed = capsys.readouterr().out
    assert "layer01" in printed
    assert printed.endswith("nothing is worse beyond the tolerance\n")


def test_compare_of_a_worse_run_is_exit_status_1(
    saved: Callable[..., str], capsys: Printed
) -> None:
    """Each number that is worse has a line; a tolerance lets it pass."""
    was, now = saved(layer("norm", margin_q=2.0)), saved(layer("norm", margin_q=1.9))
    assert 1 == main(["compare", was, now])
    assert "norm: margin_q 2 -> 1.9 (-5 %), wants >= 1.98" in capsys.readouterr().out
    assert 0 == main(["compare", was, now, "--tolerance", "0.1"])
    assert 0 == main(["compare", was, now, "--tolerance=margin_q=0.1"])
    assert 1 == main(["compare", was, now, "--tolerance=0.1", "--tolerance=margin_q=0.01"])
    assert 1 == main(["compare", was, now, "--tolerance=margin=0.1"])
    assert 0 == main(["compare", now, was])


def _several(folder: Path, name: str, **models: dict[str, Any]) -> str:
    """Saves a report of several models."""
    alone = {key: value for key, value in report().items() if key not in {"run", "layers"}}
    parts = [
        {key: one[key] for key in ("run", "layers", "releases", "comparisons")} | {"name": model}
        for model, one in models.items()
    ]
    path = folder / name
    path.write_text(json.dumps({**alone, "models": parts}))
    return str(path)


def test_compare_of_several_models_is_model_by_model(tmp_path: Path, capsys: Printed) -> None:
    """By name; a model that is gone is worse, one that is new is said."""
    was = _several(tmp_path, "was.json", awq=report(), nf4=report())
    now = _several(tmp_path, "now.json", nf4=report(layer("layer01", margin_q=0.1)), awq=report())
    assert 1 == main(["compare", was, now])
    printed = capsys.readouterr().out
    awq, nf4 = printed.split("model nf4\n")
    assert awq.startswith("model awq\n")
    assert "nothing is worse beyond the tolerance" in awq
    assert "layer01: margin_q 1.188 -> 0.1" in nf4
    fewer = _several(tmp_path, "fewer.json", awq=report())
    assert 1 == main(["compare", was, fewer])
    assert "model nf4: gone: the second run did not measure it" in capsys.readouterr().out
    assert 0 == main(["compare", fewer, was])
    assert "model nf4: the first run did not measure it" in capsys.readouterr().out


def test_compare_of_one_model_with_several_goes_by_its_folder(
    tmp_path: Path, saved: Callable[..., str], capsys: Printed
) -> None:
    """The last part of its path is what a run of several calls it; of none in common all are named."""
    several = _several(tmp_path, "several.json", awq=report(), nf4=report())
    assert 1 == main(["compare", several, saved(model="checkpoints/nf4")])
    assert "model awq: gone" in capsys.readouterr().out
    assert 4 == main(["compare", several, saved(model="checkpoints/other")])
    said = "the runs have no model in common: one has awq, nf4, the other other"
    assert said in capsys.readouterr().err


def test_compare_says_which_model_is_not_comparable(tmp_path: Path, capsys: Printed) -> None:
    """Of several; nothing is printed of the others."""
    other = report()
    other["run"] = other["run"] | {"n": 5}
    was = _several(tmp_path, "was.json", awq=report(), nf4=report())
    now = _several(tmp_path, "now.json", awq=report(), nf4=other)
    assert 4 == main(["compare", was, now])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert "error: model nf4: the runs differ in n " in printed.err


def test_compare_of_many_holds_each_against_the_first(
    saved: Callable[..., str], capsys: Printed
) -> None:
    """Each under its name; one that is worse is enough."""
    was, same, worse = saved(), saved(), saved(layer("norm", margin_q=0.1))
    assert 1 == main(["compare", was, same, worse])
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith(f"{same} against {was}\n")
    assert first.endswith("nothing is worse beyond the tolerance")
    assert second.startswith(f"{worse} against {was}\n")
    assert "norm: margin_q 1.188 -> 0.1" in second
    assert 0 == main(["compare", was, same, same])
    assert 4 == main(["compare", was, same, saved(n=5)])


@pytest.mark.parametrize("changed", [{"n": 5}, {"prompt_hash": "a"}, {"seed": 2}])
def test_compare_refuses_what_is_not_comparable(
    saved: Callable[..., str], capsys: Printed, changed: dict[str, Any]
) -> None:
    """Exit status 4, on standard error; nothing is printed that looks like a comparison."""
    assert 4 == main(["compare", saved(), saved(**changed)])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert f"error: the runs differ in {next(iter(changed))} " in printed.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tolerance=much"], "error: --tolerance 'much' is not a number"),
        (["--tolerance=margn=1"], "error: tolerance names 'margn'"),
        (["--tolerance==1"], "error: tolerance names ''"),
        (["--tolerance=-1"], "is no tolerance"),
        (["--tolerance=nan"], "is no tolerance"),
    ],
)
def test_compare_refuses_what_is_no_tolerance(
    saved: Callable[..., str], capsys: Printed, flags: list[str], message: str
) -> None:
    """Exit status 4, as of a test run."""
    assert 4 == main(["compare", saved(), saved(), *flags])
    assert message in capsys.readouterr().err


def test_compare_refuses_a_file_that_is_none(saved: Callable[..., str], capsys: Printed) -> None:
    """Exit status 4 and one line, whatever its name."""
    assert 4 == main(["compare", saved(), "no\x1b[31m.json"])
    said = capsys.readouterr().err
    assert r"error: no\x1b[31m.json: there is no such file: give a report of" in said


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["compare"], "A.json, B.json"),
        (["compare", "a"], "B.json"),
        (["calibrate"], "PARENT"),
    ],
)
def test_what_is_required_is_named(arguments: list[str], missing: str, capsys: Printed) -> None:
    """Exit status 4, as for every wrong use; what may be left out is not named."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 4 == caught.value.code
    assert capsys.readouterr().err.endswith(f"arguments are required: {missing}\n")


def test_compare_needs_no_torch_and_no_unicode(saved: Callable[..., str]) -> None:
    """Light, and printable where a log knows ASCII alone."""
    assert without_torch("compare", saved(), saved()).endswith(LIGHT)


SUITES = (
    "default_audit",
    "paper_figures",
    "privacy_audit",
    "quantization_gate",
    "training_trajectory",
)


def test_suites_are_listed(capsys: Printed) -> None:
    """Each by its name and the folder that pytest takes."""
    assert 0 == main(["suites"])
    lines = capsys.readouterr().out.splitlines()
    assert list(SUITES) == [line.partition(": ")[0] for line in lines]
    assert all((Path(line.partition(": ")[2]) / "conftest.py").is_file() for line in lines)


def test_the_folder_of_one_suite_is_printed_alone(capsys: Printed) -> None:
    """A shell hands it to pytest."""
    assert 0 == main(["suites", "quantization_gate"])
    assert (Path(capsys.readouterr().out.rstrip("\n")) / "test_gate.py").is_file()


def test_an_unknown_suite_is_wrong_use(capsys: Printed) -> None:
    """The error names the suites that there are."""
    assert 4 == main(["suites", "gate"])
    assert f"error: 'gate' is not a suite: give one of {', '.join(SUITES)}\n" == (
        capsys.readouterr().err
    )
