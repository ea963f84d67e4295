"""``pytest-injectivity init``."""

import os
from pathlib import Path

import pytest
from iniconfig import IniConfig

from pytest_injectivity.__main__ import main

ROOT = Path(__file__).parents[2] / "example_suites"
GATE = ["README.md", "conftest.py", "pytest.ini", "test_against_parent.py", "test_gate.py"]

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    """Every file and folder below one."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_gate_is_copied(here: Path, capsys: Printed) -> None:
    """Without an argument: into ./injectivity, with the next command."""
    assert 0 == main(["init"])
    assert GATE == names(here / "injectivity")
    for name in GATE:
        copied = here / "injectivity" / name
        assert copied.read_bytes() == (ROOT / "quantization_gate" / name).read_bytes()
    printed = capsys.readouterr().out
    assert printed.startswith(f"copied quantization_gate to injectivity: {', '.join(GATE)}\n")
    last = "pytest-injectivity calibrate PARENT CHILD --suite=injectivity  # thresholds from"
    assert printed.splitlines()[1:] == [
        "next: pytest injectivity",
        "      pytest injectivity --injx-model=CHILD --injx-reference=PARENT",
        f"      {last} models you trust",
    ]


@pytest.mark.parametrize("suite", ["privacy_audit", "paper_figures", "default_audit"])
def test_another_suite_is_copied(here: Path, suite: str) -> None:
    """Into the folder that is named, which is made."""
    assert 0 == main(["init", "a/b", f"--suite={suite}"])
    assert {"conftest.py", "pytest.ini"} < set(names(here / "a" / "b"))
    assert names(here / "a" / "b") == sorted(
        path.name for path in (ROOT / suite).iterdir() if path.suffix in {".py", ".ini", ".md"}
    )


def test_the_models_and_prompts_are_written_into_the_ini(here: Path, capsys: Printed) -> None:
    """Each as its flag takes it; the suite's other values stay."""
    flags = ["--model=my child", "--reference=../parent", "--prompts=p.jsonl"]
    assert 0 == main(["init", "my gate", *flags])
    found = IniConfig(str(here / "my gate" / "pytest.ini"))["pytest"]
    assert ("my child", "../parent") == (found["injx_model"], found["injx_reference"])
    assert ("p.jsonl", "1000") == (found["injx_prompts"], found["injx_max_prompts"])
    printed = capsys.readouterr().out.splitlines()
    assert "next: pytest 'my gate'" == printed[1]
    assert "calibrate ../parent 'my child' --suite='my gate'  #" in printed[2]
    assert 3 == len(printed)


@pytest.mark.parametrize("name", ["pytest.ini", "test_gate.py"])
def test_no_file_is_overwritten(here: Path, capsys: Printed, name: str) -> None:
    """One in the way: it is named, and nothing is copied, whatever its name."""
    folder = here / "injectivity"
    folder.mkdir()
    (folder / name).write_text("mine")
    assert 4 == main(["init"])
    said = f"error: injectivity/{name} exists: nothing was copied; give another folder\n"
    assert said == capsys.readouterr().err
    assert [name] == names(folder)
    assert "mine" == (folder / name).read_text()


def test_a_link_that_leads_nowhere_is_in_the_way(here: Path, capsys: Printed) -> None:
    """A file is not written where it points."""
    (here / "injectivity").mkdir()
    (here / "injectivity" / "conftest.py").symlink_to(here / "elsewhere")
    assert 4 == main(["init"])
    assert "conftest.py exists" in capsys.readouterr().err
    assert ["injectivity", "injectivity/conftest.py"] == names(here)


def test_other_files_of_the_folder_stay(here: Path) -> None:
    """Such as the prompts."""
    (here / "injectivity").mkdir()
    (here / "injectivity" / "prompts.jsonl").write_text("mine")
    assert 0 == main(["init"])
    assert names(here / "injectivity") == sorted([*GATE, "prompts.jsonl"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_wrong_use(here: Path, capsys: Printed) -> None:
    """The error names it and says why."""
    here.chmod(0o500)
    assert 4 == main(["init", "a/b"])
    assert "Permission denied: nothing was copied" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_wrong_use(here: Path, capsys: Printed) -> None:
    """Whatever was made on the way is removed."""
    (here / "file").write_text("mine")
    assert 4 == main(["init", "file/gate"])
    assert "error: file/gate" in capsys.readouterr().err
    assert ["file"] == names(here)


def test_what_was_written_before_a_failure_is_removed(here: Path, capsys: Printed) -> None:
    """A name that is too long comes up only when the folder is made."""
    assert 4 == main(["init", f"a/b/{'c' * 300}"])
    assert "name too long: nothing was copied" in capsys.readouterr().err
    assert [] == names(here)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--suite=gate", "'gate' is not a suite: give one of default_audit, "),
        ("--model=", "is empty"),
        ("--prompts=a\nb", "injx_prompts: 'a\\\\nb' cannot be written into an ini"),
    ],
)
def test_what_cannot_be_written_is_wrong_use(
    here: Path, capsys: Printed, flag: str, message: str
) -> None:
    """Nothing is copied."""
    assert 4 == main(["init", flag])
    assert message in capsys.readouterr().err
    assert [] == names(here)


def test_an_empty_name_is_no_folder(here: Path, capsys: Printed) -> None:
    """As an unset variable of a shell gives it: nothing is copied."""
    with pytest.raises(SystemExit):
        main(["init", ""])
    assert "an empty name is no folder" in capsys.readouterr().err
    assert [] == names(here)
