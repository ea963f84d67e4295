"""Mutation testing: how many small changes of the code do its tests notice?

A mutant is one change of one function, such as ``<`` for ``<=`` or an argument left out (mutmut's
operators). The tests catch it if one of them fails. A seeded sample of all mutants of some folders is
tried::

    ./dev mutants                                   # 400 of the three folders, seed 0
    ./dev mutants --count 50 pytest_injectivity/stats
    ./dev mutants --only 17,203 --room              # these two again, by all tests of their rooms

mutmut itself neither samples by a seed nor keeps torch imported between mutants: a start of pytest with
torch costs more than most tests here. So this script takes mutmut's mutations and runs each in a fork of
one process that has imported torch once. The mutated text never reaches the disk: the forked process is
given it in place of the file when the module is imported.

A mutant of ``room/module.py`` is tried by ``tests/room/test_module.py`` and by the files that
``TESTED_BY`` and ``CONTRACTS`` name, or by all tests of the room where there are none (or with
``--room``). A run is ended, and its mutant counts as caught, when it has used five times the
processor time of the same tests without a mutant, or two minutes with ``--passing``. Mutants are tried
in the order drawn, so that what ``--minutes`` leaves is a sample, too.
"""

import argparse
import difflib
import importlib
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "pytest_injectivity/geometry/search",
    "pytest_injectivity/stats",
    "pytest_injectivity/audit/checks",
)
# Further tests of a module: checks that differ in a number are tested together.
TESTED_BY = {
    "audit/checks/bilipschitz_within.py": ("audit/judging/test_quantiles.py",),
    "audit/checks/colipschitz_above.py": ("audit/judging/test_quantiles.py",),
    "audit/checks/colipschitz_retained.py": ("audit/judging/test_retained.py",),
    "audit/checks/cut_not_read.py": ("audit/checks/test_cut_not_read.py",),
    "audit/checks/margin_above.py": ("audit/judging/test_quantiles.py",),
    "audit/checks/margin_retained.py": ("audit/judging/test_retained.py",),
    "audit/checks/matches_baseline.py": ("audit/baselines",),
    "audit/checks/not_read_by_reference.py": ("audit/comparisons/test_cross_inversion.py",),
    "audit/checks/not_recoverable.py": (
        "audit/judging/test_releases.py",
        "audit/releases/test_releases.py",
    ),
    "audit/checks/utility_kept.py": (
        "audit/judging/test_releases.py",
        "audit/releases/test_releases.py",
    ),
    "audit/judging/base.py": (
        "audit/test_bound_checks.py",
        "audit/judging/test_retained.py",
        "audit/checks/test_no_collisions.py",
    ),
    "audit/judging/collisions.py": (
        "audit/checks/test_no_collisions.py",
        "audit/checks/test_no_new_collisions.py",
    ),
    "audit/judging/tables.py": (
        "audit/checks/test_one_step_distinct.py",
        "audit/checks/test_no_continuation_collisions.py",
    ),
    "geometry/search/possible_pairs.py": (
        "geometry/search/test_tiles.py",
        "geometry/search/test_products.py",
    ),
    "geometry/search/tile_sides.py": (
        "geometry/search/test_tiles.py",
        "geometry/search/test_products.py",
    ),
}
# The contract that every module of a folder keeps.
CONTRACTS = {"audit/checks": "audit/test_checks.py"}
# Imported once, before any fork. Nothing of this package: each fork imports it with its mutant.
SHARED = (
    "torch",
    "scipy.stats",
    "transformers.modeling_utils",
    "hypothesis",
    "faiss",
    "rapidfuzz",
    "pytest",
)
_SLACK_SECONDS = 20
_PASSING_SECONDS = 120
_TIMES = 5


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of one file.

    Attributes:
        number: among all mutants of the folders, in the order of files and lines.
        path: of the file, from the repository's root.
        module: the file's syntax tree.
        change: which node becomes which.
    """

    number: int
    path: str
    module: Any
    change: Any

    @cached_property
    def text(self) -> str:
        """The whole file with the change."""
        changed = self.module.deep_replace(self.change.original_node, self.change.mutated_node)
        return str(changed.code)

    @property
    def diff(self) -> str:
        """The lines that differ."""
        before = (ROOT / self.path).read_text().splitlines()
        lines = difflib.unified_diff(before, self.text.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


def mutants_of(folders: Sequence[str]) -> list[Mutant]:
    """Every mutant of the functions in these folders or files."""
    from mutmut.mutation.file_mutation import create_mutations

    found: list[Mutant] = []
    for folder in folders:
        place = ROOT / folder
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            path = str(file.relative_to(ROOT))
            module, mutations, *_ = create_mutations(path, file.read_text())
            for one in mutations:
                # Constants of a module are sizes of blocks and the like: any other would do.
                if one.contained_by_top_level_function is not None:
                    found.append(Mutant(len(found), path, module, one))
    return found


def tests_of(path: str, *, room: bool) -> tuple[str, ...]:
    """The tests that try the mutants of a file."""
    file = Path(path)
    folder = Path("tests", *file.parent.parts[1:])
    own = folder / f"test_{file.name}"
    if room:
        return (str(folder),)
    mirror = (str(own),) if (ROOT / own).is_file() else ()
    elsewhere = TESTED_BY.get(str(Path(*file.parts[1:])), ())
    contract = CONTRACTS.get(str(Path(*file.parent.parts[1:])))
    further = [f"tests/{name}" for name in (*elsewhere, contract) if name is not None]
    lost = [name for name in further if not (ROOT / name).exists()]
    if lost:
        raise FileNotFoundError(f"no tests at {', '.join(lost)}: correct TESTED_BY of {path}")
    return (*mirror, *further) or (str(folder),)


def forked(
    tests: Sequence[str], path: str, text: str | None, cpu_seconds: int | None
) -> tuple[int, float]:
    """Runs a file's tests in a fork, with another text in place of the file unless it is None.

    Gives the fork's exit status (not 0: a test failed) and its processor time.
    """
    process = os.fork()
    if not process:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        status = 70
        try:
            if cpu_seconds is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
            status = _run(tests, path, text)
        finally:
            os._exit(status)
    _, status, usage = os.wait4(process, 0)
    return status, usage.ru_utime + usage.ru_stime


def _run(tests: Sequence[str], path: str, text: str | None) -> int:
    import pytest

    sys.dont_write_bytecode = True
    if text is not None:
        _replace(ROOT / path, text)
    # A contract's tests of other modules say nothing of this one.
    contracts = " and ".join(f"not {Path(one).name}" for one in CONTRACTS.values())
    chosen = f"({contracts}) or {Path(path).stem} or wrong_use"
    # Without assertion rewriting, whose loader of a plugin's modules would pass the mutant by.
    given = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-k", chosen, *tests]
    return int(pytest.main(given))


def _replace(path: Path, text: str) -> None:
    """Lets imports in this process read another text in place of a file."""
    read, name = SourceFileLoader.get_data, f"{path.stem}.cpython-"

    def get_data(self: SourceFileLoader, asked: str) -> bytes:
        if Path(asked) == path:
            return text.encode()
        if Path(asked).parent == path.parent / "__pycache__" and Path(asked).name.startswith(name):
            raise OSError("compiled from the file, not from its mutant")
        return read(self, asked)

    SourceFileLoader.get_data = get_data  # type: ignore[method-assign] # in this fork only


def main() -> int:
    """Tries a sample of mutants and prints how many were caught, by file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", default=FOLDERS)
    parser.add_argument("--count", type=int, default=400, help="how many mutants")
    parser.add_argument("--skip", type=int, default=0, help="of the sample, tried before")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", help="numbers of mutants, separated by commas, and no sample")
    parser.add_argument("--room", action="store_true", help="by all tests of the mutant's room")
    parser.add_argument(
        "--passing", action="store_true", help="the tests are known to pass without a mutant"
    )
    parser.add_argument("--minutes", type=float, help="begin no mutant after so many")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    every = mutants_of(given.folders)
    if given.only:
        chosen = [every[int(number)] for number in given.only.split(",")]
    else:
        count = min(given.count, len(every))
        drawn = random.Random(given.seed).sample(every, count)  # noqa: S311 - a sample, no secret
        chosen = drawn[given.skip :]
    print(f"{len(chosen)} of {len(every)} mutants, seed {given.seed}", flush=True)
    for name in SHARED:
        importlib.import_module(name)
    tried_by = {mutant.path: tests_of(mutant.path, room=given.room) for mutant in chosen}
    limits = dict.fromkeys(tried_by, _PASSING_SECONDS) if given.passing else {}
    return _report(chosen, tried_by, limits, 60 * (given.minutes or float("inf")))


def _report(
    chosen: Sequence[Mutant],
    tried_by: dict[str, tuple[str, ...]],
    limits: dict[str, int],
    seconds: float,
) -> int:
    counts: dict[str, list[int]] = {}
    started = time.monotonic()
    for mutant in chosen:
        if time.monotonic() - started > seconds:
            break
        tests = tried_by[mutant.path]
        if mutant.path not in limits:
            status, used = forked(tests, mutant.path, None, None)
            if status:
                print(f"{' '.join(tests)} fails without a mutant: exit status {status}")
                return 1
            limits[mutant.path] = int(_TIMES * used) + _SLACK_SECONDS
        status, _ = forked(tests, mutant.path, mutant.text, limits[mutant.path])
        caught = counts.setdefault(mutant.path, [0, 0])
        caught[0 if status else 1] += 1
        print("." if status else "", end="", flush=True)
        if not status:
            print(f"\nsurvived: {mutant.number} {mutant.path}\n{mutant.diff}", flush=True)
    print()
    for path, (caught_ones, survived) in counts.items():
        print(f"{caught_ones:4} caught {survived:4} survived  {path}")
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    share = total[0] / max(1, sum(total))
    minutes = (time.monotonic() - started) / 60
    print(f"{total[0]:4} caught {total[1]:4} survived: {share:.1%} caught, {minutes:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
