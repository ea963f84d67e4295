"""Rules that every test of this repository keeps, read from the tests' syntax trees.

A test that asserts only in a loop passes where the loop has nothing to go through, and one that
asserts only under an `if` passes where the condition is false: so each asserts something whenever it
runs, itself or by a helper that does. Its docstring says in its first line what is tested, and it
replaces no private constant of the package.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("tests/**/test_*.py"))

# Ways to assert of pytest and its plugins; what is called `assert_...` counts by its name.
ASSERTING = {"raises", "warns", "fnmatch_lines", "no_fnmatch_line", "re_match_lines"}


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"))


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """Every function of a file by its name, those inside of functions and classes too."""
    return {node.name: node for node in statements(tree(path)) if isinstance(node, ast.FunctionDef)}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements below a node, and no expressions, which are most of a tree."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, block, ())
        for one in inner if isinstance(inner, list) else ():
            yield one
            yield from statements(one)


def cases(path: Path) -> Iterator[ast.FunctionDef]:
    """The test functions of a file."""
    return (node for name, node in functions(path).items() if name.startswith("test_"))


@cache
def imported(path: Path) -> dict[str, tuple[Path, str]]:
    """What a file imports from other files of the tests: each name's file, and its name there."""
    return {
        alias.asname or alias.name: (source, alias.name)
        for node in tree(path).body
        if isinstance(node, ast.ImportFrom)
        for source in [ROOT / f"{(node.module or '').replace('.', '/')}.py"]
        if source.is_relative_to(ROOT / "tests") and source.exists()
        for alias in node.names
    }


@cache
def constants(path: Path) -> dict[str, ast.expr]:
    """What a file assigns to names at its top."""
    return {
        ast.unparse(target): node.value
        for node in tree(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }


def never_empty(iterable: ast.expr | None, path: Path) -> bool:
    """Whether what a loop goes through is written out, there or as a constant, and has members."""
    found = False
    match iterable:
        case ast.Tuple(elts=members) | ast.List(elts=members) | ast.Set(elts=members):
            found = any(not isinstance(member, ast.Starred) for member in members)
        case ast.Dict(keys=keys):
            found = any(keys)
        case ast.Name(id=name):
            source, name = imported(path).get(name, (path, name))
            found = never_empty(constants(source).get(name), source)
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(stop))]):
            found = stop > 0
        case ast.Call(func=ast.Name(id="enumerate" | "reversed" | "sorted"), args=[inner, *_]):
            found = never_empty(inner, path)
        case ast.Call(func=ast.Name(id="product"), args=inners):
            found = all(never_empty(inner, path) for inner in inners)
        case ast.Call(func=ast.Name(id="zip"), args=inners, keywords=[ast.keyword(arg="strict")]):
            found = any(never_empty(inner, path) for inner in inners)
        case ast.Call(func=ast.Attribute(value=inner, attr="items" | "values" | "keys")):
            found = never_empty(inner, path)
    return found


def always_run(node: ast.AST, path: Path) -> Iterator[ast.AST]:
    """A node and those below it that run whenever it does: in no branch, in no loop of maybe nothing."""
    yield node
    match node:
        case ast.FunctionDef() | ast.Lambda() | ast.ClassDef():
            children: list[ast.AST] = []
        case ast.If(test=first) | ast.While(test=first) | ast.IfExp(test=first):
            children = [first]
        case ast.Match(subject=first) | ast.For(iter=first) if not never_empty(first, path):
            children = [first]
        case ast.Try(body=body, finalbody=final):
            children = [*body, *final]
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            children = [node.generators[0].iter]
        case _:
            children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from always_run(child, path)


def asserts(function: ast.FunctionDef, path: Path) -> bool:
    """Whether a function asserts something each time that it is called, itself or by a helper."""
    for node in (inner for line in function.body for inner in always_run(line, path)):
        match node:
            case ast.Assert():
                return True
            case ast.Call(func=ast.Attribute(attr=name)):
                if name in ASSERTING or name.startswith("assert_"):
                    return True
            case ast.Call(func=ast.Name(id=name)):
                source, name = imported(path).get(name, (path, name))
                helper = functions(source).get(name)
                if name in ASSERTING or (helper and helper != function and asserts(helper, source)):
                    return True
    return False


def test_there_are_tests() -> None:
    """The rules below have something to look at."""
    assert len(FILES) > 100


def test_every_test_asserts_whenever_it_runs() -> None:
    """At least once outside of branches and of loops that may have nothing to go through."""
    found = [(path, one) for path in FILES for one in cases(path) if not asserts(one, path)]
    assert [] == [f"{path.relative_to(ROOT)}:{one.lineno} {one.name}" for path, one in found]


def test_every_docstring_begins_with_one_sentence() -> None:
    """What is tested; paragraphs after it may say why."""
    one_sentence = re.compile(r"([^.?!]|[.?!](?!\s+[A-Z`]))+[.?!]")
    assert [] == [
        f"{path.relative_to(ROOT)}:{one.lineno} {one.name}"
        for path in FILES
        for one in cases(path)
        if not one_sentence.fullmatch((ast.get_docstring(one) or "").split("\n\n")[0])
    ]


def test_no_private_constant_is_replaced() -> None:
    """What a test needs otherwise is an argument with a default."""
    replaced = re.compile(r"setattr\(\s*(\"pytest_injectivity[\w.]*\.|\w+, \")_[A-Z]")
    sources = {path: path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")}
    assert [] == [str(path) for path, source in sources.items() if replaced.search(source)]
