"""How much is measured, what is wanted, and where curves go."""

from pathlib import Path

import pytest

from pytest_injectivity import write_curves, write_picture

# Everything is measured on so many prompts of so many tokens: more prompts, narrower intervals.
SIZE = {"prompts": 20, "tokens": 6}
# Curves are drawn of attackers that are told the tokens before the one they look for. Those that go on
# from their own answers take longest, are told less, and run on what you name yourself.
CURVE = SIZE | {"free_running": 0}

# What at most may be read of a release worth having, and what at least must be left of its use.
MAX_TOKEN_RATE = 0.5
MIN_AGREEMENT = 0.9

LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    """What only this suite asks for; model, prompts and releases are the plugin's flags."""
    group = parser.getgroup("privacy audit")
    group.addoption("--privacy-folder", default="curves", help="where the curves go")


def pytest_configure(config):
    """Findings collect here until the end of the run."""
    config.stash[LINES] = []


def pytest_terminal_summary(terminalreporter, config):
    """Where, if anywhere, privacy and use both hold."""
    for line in config.stash[LINES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def cuts(injx):
    """Four cuts, from the first block to the last."""
    return sorted({1 + at * (injx.n_layers - 1) // 3 for at in range(4)})


@pytest.fixture(scope="session")
def write(pytestconfig):
    """Writes curves as JSON and as a picture, and says what they found."""
    folder = Path(pytestconfig.getoption("--privacy-folder"))

    def written(name, curves):
        write_curves(folder / f"{name}.json", curves)
        write_picture(folder / f"{name}.svg", curves)
        pytestconfig.stash[LINES] += [curve.line for curve in curves]

    return written
