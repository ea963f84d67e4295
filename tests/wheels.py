"""The wheel of this tree, and an environment that knows this package by it alone."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def built_wheel(folder: Path) -> Path:
    """The wheel, built by hatchling, offline; skips the test where hatchling is not installed."""
    pytest.importorskip("hatchling", reason="the group test has it")
    build = ["hatchling", "build", "--target=wheel", f"--directory={folder}"]
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - python itself
    (built,) = folder.glob("*.whl")
    return built


def installed_wheel(folder: Path) -> Path:
    """The commands of an environment that holds the wheel, and the libraries of this one."""
    home = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)  # noqa: S603 - python itself
    python = home / "bin" / "python"
    (place,) = home.glob("lib/python*/site-packages")
    # A folder that is named in a .pth file has none of its own .pth files read: no editable install.
    (place / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "-q", "--no-index", "--no-deps", "--ignore-installed"]
    wheel = built_wheel(folder)
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install, wheel], check=True)  # noqa: S603 - pip itself
    # The command pytest is another package's, whose script would start the other environment.
    script = home / "bin" / "pytest"
    script.write_text(f"#!{python}\nimport pytest\nraise SystemExit(pytest.console_main())\n")
    script.chmod(0o755)
    return home / "bin"
