import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = {
    "attr",
    "cattrs",
    "faiss",
    "numpy",
    "pyarrow",
    "rapidfuzz",
    "rich",
    "safetensors",
    "scipy",
    "tokenizers",
}
HEAVY |= {"jaxtyping", "torch", "transformers"}
# What every start imports of this package.
OWN = {"config", "config.options", "config.parsers", "plugin"}
# What is imported besides when an option is given or tests are collected.
RUN = {
    "config.audit_config",
    "config.run_models",
    "errors",
    "plugin.audits",
    "plugin.beginning",
    "plugin.properties",
    "plugin.session",
    "plugin.stops",
}
# What is imported besides when tests have run, to gather what they found.
GATHERING = {"plugin.ending", "plugin.failures", "plugin.gathering", "results", "results.told"}
SPY = """
import atexit, json, sys

@atexit.register
def tell():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""
# Plugins of the test dependencies, which an installation for use does not have. Those of the
# runtime dependencies stay (anyio's, platformdirs').
ALONE = ("jaxtyping", "hypothesispytest", "xdist", "rerunfailures")
_MOST_MORE = 0.010
_RUNS = 15


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # Compiled files are kept, as they are for anybody who runs pytest twice.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder.parent / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.Popen(  # noqa: S603 - pytest itself
        [sys.executable, "-m", "pytest", *(f"-pno:{name}" for name in ALONE), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _seconds(folder: Path, *arguments: str) -> float:
    """Processor time: unlike the wall's, it leaves out what else the machine does."""
    with _start(folder, *arguments) as process:
        process.stdout.read()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("arguments", "status", "own"),
    [
        (["--help"], pytest.ExitCode.OK, OWN),
        pytest.param([], pytest.ExitCode.NO_TESTS_COLLECTED, OWN, marks=pytest.mark.slow),
        (["test_unit.py"], pytest.ExitCode.OK, OWN | RUN | GATHERING),
        pytest.param(
            ["--fixtures", "test_unit.py"], pytest.ExitCode.OK, OWN | RUN, marks=pytest.mark.slow
        ),
        (["test_gate.py", "--injx-seed=-1"], pytest.ExitCode.USAGE_ERROR, OWN | RUN),
    ],
    ids=["help", "empty", "unit", "fixtures", "refused"],
)
def test_the_unused_plugin_imports_nothing_heavy(
    tmp_path: Path, arguments: list[str], status: pytest.ExitCode, own: set[str]
) -> None:
    """No torch, transformers, numpy and so on, and of this package only what pytest needs."""
    (tmp_path / "spy.py").write_text(SPY)
    (tmp_path / "test_unit.py").write_text("def test_unit():\n    pass\n")
    (tmp_path / "test_gate.py").write_text("def test_gate(injx):\n    pass\n")
    chosen = arguments or ["-k", "nothing", "spy.py"]
    process = _start(tmp_path, "-p", "spy", *chosen)
    printed, _ = process.communicate()
    assert status == process.returncode, printed
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert set() == HEAVY & {module.partition(".")[0] for module in modules}
    ours = [module for module in modules if module.startswith("pytest_injectivity.")]
    assert own == {module.removeprefix("pytest_injectivity.") for module in ours}


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    """The public names that need torch arrive when they are used."""
    code = "import sys, json, pytest_injectivity; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set() == HEAVY & {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_an_audit_imports_torch_when_it_loads_something(tmp_path: Path) -> None:
    """Threads are settled and libraries hushed before torch and transformers are imported."""
    code = (
        "import sys, json, pytest_injectivity.audit.audit; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set() == {"torch", "transformers"} & {*json.loads(done.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["-k", "nothing", "spy.py"]], ids=["help", "empty"]
)
def test_the_unused_plugin_costs_under_10_ms(
    tmp_path: Path, arguments: list[str], record_property: Callable[[str, object], None]
) -> None:
    """The fastest of interleaved runs, with the plugin and with ``-p no:injectivity``.

    Whatever disturbs a run adds to it, so the fastest of many is the one that was left alone.
    """
    (tmp_path / "spy.py").write_text("")
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(_RUNS):
        seconds["with"].append(_seconds(tmp_path, *arguments))
        seconds["without"].append(_seconds(tmp_path, "-p", "no:injectivity", *arguments))
    fastest = {name: min(took) for name, took in seconds.items()}
    record_property("seconds", fastest)
    assert fastest["with"] - fastest["without"] < _MOST_MORE, seconds
