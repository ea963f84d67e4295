"""The examples in docstrings, README and docs run, or at least name what exists."""

import ast
import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import pytest_injectivity
from pytest_injectivity import Audit, AuditConfig, plugin, stats
from tests.audits import small_samples

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES += sorted(ROOT.glob("example_suites/*/README.md"))


def _documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names and docstrings with an example, read from the source: no module is imported for it."""

    def look(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node, clean=False) or ""
            if ">>> " in text:
                yield name, text
            for child in node.body:
                yield from look(child, ".".join((name, getattr(child, "name", ""))).strip("."))

    yield from look(tree, "")


# Of checks that attack what is shared, `utility_kept` has a quick one. The others here take a second and
# more, and tests of their own ask the same.
SLOW = {
    "check_not_read_by_reference",
    "check_not_recoverable",
    "check_cut_not_read",
    "check_discriminant_distance_above",
    "colliding_change",
    "compare_models",
    "write_course",
}

DOCSTRINGS = [
    pytest.param(
        path,
        text,
        id=f"{path.relative_to(ROOT).with_suffix('').as_posix()}:{name}",
        marks=[pytest.mark.slow] if name in SLOW else [],
    )
    for path in sorted((ROOT / "pytest_injectivity").rglob("*.py"))
    for name, text in _documented(ast.parse(path.read_text(encoding="utf-8")))
]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}:{at}")
    for page in PAGES
    for at, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]
CALLS = [
    pytest.param(node.func.attr, node, id=f"{block.id}:{node.lineno}:{node.func.attr}")
    for block in BLOCKS
    for node in ast.walk(ast.parse(block.values[0]))
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Attribute)
    and isinstance(node.func.value, ast.Name)
    and node.func.value.id in {"injx", "audit"}
]


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audit]:
    """The ``audit`` of the docstrings: the shipped model on 24 prompts of random tokens."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small_samples(patch)
        # The texts of builtin:stdlib, the default, take longer to read than all else.
        config = AuditConfig(
            prompts="builtin:random", max_prompts=24, device="cpu", cache_dir=str(folder / "store")
        )
        yield Audit(config)


@pytest.mark.parametrize("room", [pytest_injectivity, stats], ids=["package", "stats"])
def test_every_public_function_has_an_example(room: ModuleType) -> None:
    """What is exported is used by people who read its docstring only."""
    public = [getattr(room, name) for name in room.__all__]
    functions = [one for one in public if inspect.isfunction(one)]
    assert len(functions) > 5
    assert [] == [one.__name__ for one in functions if ">>> " not in (one.__doc__ or "")]


@pytest.mark.parametrize(("path", "docstring"), DOCSTRINGS)
def test_the_example_of_a_docstring_prints_what_it_says(
    path: Path, docstring: str, request: pytest.FixtureRequest
) -> None:
    """It runs with the names of its own module, and with ``audit`` where it names one."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    names = dict(vars(import_module(name)))
    test = doctest.DocTestParser().get_doctest(docstring, names, name, str(path), 0)
    if any(re.search(r"\baudit\b", one.source) for one in test.examples):
        test.globs["audit"] = request.getfixturevalue("audit")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    assert test.examples
    assert 0 == runner.run(test, out=said.append).failed, "".join(said)


def test_there_are_examples() -> None:
    """The tests above have something to run."""
    assert len(DOCSTRINGS) >= 3
    assert len(BLOCKS) >= 5
    assert len(CALLS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_page_imports_what_exists(block: str) -> None:
    """Every name that a block of Python imports from this package."""
    missing = [
        f"{node.module}.{one.name}"
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_injectivity")
        for one in node.names
        if not hasattr(import_module(node.module or ""), one.name)
    ]
    assert [] == missing


@pytest.mark.parametrize("block", BLOCKS)
def test_a_page_uses_fixtures_that_exist(block: str) -> None:
    """Every argument of a test in a block of Python."""
    wanted = {
        argument.arg
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for argument in node.args.args
    }
    assert set() == {name for name in wanted if not hasattr(plugin, name)}


@pytest.mark.parametrize(("method", "call"), CALLS)
def test_a_page_calls_checks_that_exist(method: str, call: ast.Call) -> None:
    """Every method that a block of Python calls on ``injx`` or ``audit`` takes what it is given."""
    given = {word.arg: None for word in call.keywords if word.arg}
    bound = inspect.signature(getattr(Audit, method)).bind(None, *call.args, **given)
    assert 1 + len(call.args) + len(given) >= len(bound.arguments)
    assert given.keys() <= bound.arguments.keys()
