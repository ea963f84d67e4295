"""The wheel that ``pip install`` gets."""

import configparser
import json
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.documentation.blocks import blocks

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of this tree, built by hatchling, offline."""
    pytest.importorskip("hatchling", reason="the group test has it")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={folder}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return ZipFile(built)


def test_the_wheel_says_that_it_is_typed(wheel: ZipFile) -> None:
    """Type checkers read the annotations of a package that holds py.typed."""
    assert "pytest_injectivity/py.typed" in wheel.namelist()


def test_the_wheel_holds_the_example_suites(wheel: ZipFile) -> None:
    """Every file of them, as data of the package."""
    inside = {
        path.relative_to(ROOT / "example_suites").as_posix(): path.read_bytes()
        for path in (ROOT / "example_suites").rglob("*")
        # `./dev audit` leaves pytest's cache beside them.
        if path.is_file()
        and path.suffix in {".ini", ".md", ".py"}
        and ".pytest_cache" not in path.parts
    }
    assert len(inside) > 10
    assert inside == {name: wheel.read(f"pytest_injectivity/suites/{name}") for name in inside}


def test_the_wheel_holds_the_templates_of_the_page(wheel: ZipFile) -> None:
    """They are no Python and are loaded from the package."""
    folder = "pytest_injectivity/reports/page/templates"
    inside = {path.name for path in (ROOT / folder).iterdir()}
    assert {"page.html.jinja", "style.css"} <= inside
    assert inside == {name.rpartition("/")[2] for name in wheel.namelist() if folder in name}


def test_the_wheel_holds_nothing_compiled(wheel: ZipFile) -> None:
    """Nor what pytest leaves beside tests."""
    assert [] == [name for name in wheel.namelist() if name.endswith(".pyc") or "/." in name]


@pytest.fixture(scope="module")
def installed(wheel: ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that holds the wheel, and the libraries of this one."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)  # noqa: S603 - python itself
    python = home / "bin" / "python"
    (place,) = home.glob("lib/python*/site-packages")
    # A folder that is named in a .pth file has none of its own .pth files read: no editable install.
    (place / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "-q", "--no-index", "--no-deps", "--ignore-installed", wheel.filename]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)  # noqa: S603 - pip itself
    return home / "bin"


@pytest.fixture
def stand_ins(tmp_path: Path) -> None:
    """What the README names: a model, one in bfloat16, and prompts."""
    import torch

    from pytest_injectivity import load_decoder
    from pytest_injectivity.testing import save_checkpoint

    decoder = load_decoder("builtin:gpt2-stdlib")
    save_checkpoint(decoder, tmp_path / "my-model")
    decoder.model.to(torch.bfloat16)
    save_checkpoint(decoder, tmp_path / "my-4bit")
    texts = [f"{at} prompts of {at * at} tokens" for at in range(30)]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in texts))


@pytest.mark.slow
@pytest.mark.usefixtures("stand_ins")
def test_the_readmes_commands_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """All but ``pip``, and ``calibrate``, in a folder that knows nothing of this project.

    With few prompts, and without the gate's longest tests.
    """
    environment = {
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTEST_ADDOPTS": "--injx-max-prompts=24 -k 'collisions or collide or margin'",
    }

    def run(*command: str) -> str:
        done = subprocess.run(  # noqa: S603 - what was just installed
            [installed / command[0], *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    where = run("python", "-c", "import pytest_injectivity; print(pytest_injectivity.__file__)")
    assert where.startswith(str(installed.parent))
    block = next(block for block in blocks(ROOT / "README.md") if block.language == "bash")
    lines = [shlex.split(line, comments=True) for line in block.text.splitlines()]
    commands = [line for line in lines if line[0] != "pip"]
    assert len(commands) >= 3
    printed = "".join(
        run(*(["python", "-m"] if line[0] == "pytest" else []), *line) for line in commands
    )
    assert "next: pytest injectivity\n" in printed
    assert printed.count("verdicts PASS") >= 2
    assert "builtin:gpt2-stdlib" in printed
    child = ["builtin:gpt2-stdlib", "--dtype=bfloat16", "--samples=2", "--size=10"]
    assert "gate_drift = 16 bfloat16 " in run("pytest-injectivity", "calibrate", *child)


def test_the_wheel_has_a_command_and_a_pytest_plugin(wheel: ZipFile) -> None:
    """``pytest-injectivity``, and the plugin that pytest finds."""
    (path,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(path).decode())
    assert "pytest_injectivity.__main__:main" == points["console_scripts"]["pytest-injectivity"]
    assert "pytest_injectivity.plugin" == points["pytest11"]["injectivity"]


def test_the_wheel_needs_no_jaxtyping(wheel: ZipFile) -> None:
    """Its pytest plugin would import numpy at every start of pytest."""
    (path,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    needed = [
        line
        for line in wheel.read(path).decode().splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    assert needed
    assert not [line for line in needed if "jaxtyping" in line]
