import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = {"faiss", "numpy", "pyarrow", "rapidfuzz", "rich", "safetensors", "scipy", "tokenizers"}
HEAVY |= {"jaxtyping", "torch", "transformers"}
OWN = {"errors", "layers", "options", "plugin", "run", "text"}
SPY = """
import atexit, json, sys

@atexit.register
def tell():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""
# Other plugins that happen to be installed are not what is measured.
ALONE = ("-p", "no:jaxtyping", "-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:xdist")
_MOST_MORE = 0.020
_RUNS = 15


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Compiled files are kept, as they are for anybody who runs pytest twice.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(  # noqa: S603 - pytest itself
        [sys.executable, "-m", "pytest", *ALONE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], pytest.ExitCode.OK),
        ([], pytest.ExitCode.NO_TESTS_COLLECTED),
        (["test_unit.py"], pytest.ExitCode.OK),
        (["--fixtures", "test_unit.py"], pytest.ExitCode.OK),
        (["test_gate.py", "--injx-seed=-1"], pytest.ExitCode.USAGE_ERROR),
    ],
    ids=["help", "empty", "unit", "fixtures", "refused"],
)
def test_the_unused_plugin_imports_nothing_heavy(
    tmp_path: Path, arguments: list[str], status: pytest.ExitCode
) -> None:
    """No torch, transformers, numpy and so on, and of this package only what pytest needs."""
    (tmp_path / "spy.py").write_text(SPY)
    (tmp_path / "test_unit.py").write_text("def test_unit():\n    pass\n")
    (tmp_path / "test_gate.py").write_text("def test_gate(injx):\n    pass\n")
    chosen = arguments or ["-k", "nothing", "spy.py"]
    done = _pytest(tmp_path, "-p", "spy", *chosen)
    assert status == done.returncode, done.stdout + done.stderr
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert set() == HEAVY & {module.partition(".")[0] for module in modules}
    ours = [module for module in modules if module.startswith("pytest_injectivity.")]
    assert OWN == {module.removeprefix("pytest_injectivity.") for module in ours}


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    """The public names that need torch arrive when they are used."""
    code = "import sys, json, pytest_injectivity; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set() == HEAVY & {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["-k", "nothing", "spy.py"]], ids=["help", "empty"])
def test_the_unused_plugin_costs_under_20_ms(
    tmp_path: Path, arguments: list[str], record_property: Callable[[str, object], None]
) -> None:
    """The fastest of interleaved runs, with the plugin and with ``-p no:injectivity``.

    Whatever else the machine does only adds to a run, so the fastest of many is the one it left
    alone.
    """
    (tmp_path / "spy.py").write_text("")
    fastest: dict[str, float] = {}
    for _ in range(_RUNS):
        for name, switch in (("with", ()), ("without", ("-p", "no:injectivity"))):
            started = time.perf_counter()
            _pytest(tmp_path, *switch, *arguments)
            took = time.perf_counter() - started
            fastest[name] = min(took, fastest.get(name, took))
    record_property("seconds", fastest)
    assert fastest["with"] - fastest["without"] < _MOST_MORE, fastest
