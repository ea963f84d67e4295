"""Which models are held against their parent: the one that is named, or one in several precisions."""

from configparser import ConfigParser
from pathlib import Path

import pytest

from pytest_injectivity import MissingExtra, threshold_for

# What the shipped model is held in, each against itself as it is stored: 16, 8 and 4 bits.
PRECISIONS = "bfloat16,torchao-int8,bnb-nf4"
SHIPPED = "builtin:gpt2-stdlib"

# What pytest.ini holds beside the plugin's own values.
THRESHOLDS = {
    "gate_calibration": "what the thresholds were measured on",
    "gate_eps": "two prompts nearer than this count as one",
    "gate_margin": "the least 1 % margin, in units of the mean norm",
    "gate_colipschitz": "the least 1 % co-Lipschitz constant, in units of the mean norm",
    "gate_bits": "activations rounded to so many bits and more make no collision",
    "gate_weight_error": "the largest weight error of a tensor; proved: what its bits explain",
    "gate_block_error": "the largest error of a block; proved: what the bits of its weights explain",
    "gate_drift": "the largest drift from the parent's states, of 99 % of the prompts",
    "gate_kl": "the largest mean KL of next tokens from the parent's, in nats",
    "gate_top1": "the least share of positions with the parent's first choice of a next token",
    "gate_margin_kept": "the least share of the parent's margin; 1 over it is the largest",
    "gate_colipschitz_kept": "likewise of the co-Lipschitz constant",
}

NO_PARENT = (
    "no parent: name it by --injx-reference=PARENT, or have this model quantized by"
    " --precisions=torchao-int8,bnb-nf4"
)


def pytest_addoption(parser):
    """What only this suite asks for; model, parent, prompts and the rest are the plugin's flags."""
    group = parser.getgroup("quantization gate")
    group.addoption(
        "--precisions",
        help=f"dtypes and --injx-quantization kinds that the model is held in, each against itself as"
        f" it is stored (of the shipped model: {PRECISIONS})",
    )
    group.addoption(
        "--must-be-quantized",
        metavar="BITS",
        type=float,
        help="the weights of every block must be proved to hold at most so many bits",
    )
    # Where another ini is in force (-c, a project's own), what it does not say is said beside this file.
    own = ConfigParser(interpolation=None)
    own.read(Path(__file__).with_name("pytest.ini"))
    for name, meaning in THRESHOLDS.items():
        parser.addini(name, meaning, default=own.get("pytest", name, fallback=""))


def pytest_generate_tests(metafunc):
    """One test id a model that is held against its parent."""
    if "child" in metafunc.fixturenames:
        metafunc.parametrize("child", children(metafunc.config), indirect=True, scope="session")


def children(config):
    """What ``--precisions`` names; else the model itself, where a parent is named."""
    asked = config.getoption("precisions")
    if asked is None and option(config, "injx_reference"):
        return ["model"]
    if asked is None and option(config, "injx_model") in ("", SHIPPED):
        asked = PRECISIONS
    return asked.split(",") if asked else [pytest.param("model", marks=pytest.mark.skip(NO_PARENT))]


def option(config, name):
    """What the command line says, else the ini."""
    return config.getoption(name) or config.getini(name)


@pytest.fixture(scope="session")
def threshold(pytestconfig):
    """A threshold of pytest.ini by its name, for the model that is judged by it."""
    return lambda name, model: threshold_for(model, name, pytestconfig.getini(name))


@pytest.fixture(scope="session")
def bound(pytestconfig):
    """A threshold, or None where pytest.ini leaves it to the bits that were proved of the model."""

    def of(name, model):
        rows = pytestconfig.getini(name).strip()
        return None if rows == "proved" else threshold_for(model, name, rows, default=None)

    return of


def pytest_collection_modifyitems(config, items):
    """Leave out what nobody asked for, which is no skipped test: nothing is missing for it."""
    if config.getoption("must_be_quantized") is None:
        items[:] = [item for item in items if "most_bits" not in item.fixturenames]


@pytest.fixture(scope="session")
def most_bits(pytestconfig):
    """The most bits of a quantized weight."""
    return pytestconfig.getoption("must_be_quantized")


@pytest.fixture(scope="session")
def child(injx, request):
    """The model that is held against its parent."""
    name = request.param
    if name == "model":
        yield injx
        return
    dtype = name in ("float32", "bfloat16", "float16")
    audit = injx.in_precision(**{"dtype" if dtype else "quantization": name})
    try:
        audit.facts  # noqa: B018 - loads it, where the store does not know it
    except MissingExtra as error:
        pytest.skip(str(error))
    yield audit
    audit.unload()


@pytest.fixture
def one_line(child, injx, request):
    """Says in one line what a precision keeps: by one test, because workers have a part of them each."""
    yield
    if child is not injx:
        injx.watcher.announce(line(request.node.callspec.params["child"], child))


def line(name, audit):
    """One precision in one line: from the least to the largest layer."""
    layers = [audit.comparison(layer) for layer in audit.layers]
    margin, colipschitz = (
        [getattr(one, number).value for one in layers if getattr(one, number)]
        for number in ("margin", "colipschitz")
    )
    drift = [one.drift_q99 for one in layers if one.drift_q99 is not None]
    found, tokens = audit.facts.quantized, audit.comparisons.measured_next_token
    return (
        f"{name}{'' if found is None else f' ({found.line})'}: margin kept {between(margin)},"
        f" co-Lipschitz constant kept {between(colipschitz)}, drift {between(drift)}"
        f"{'' if tokens is None or tokens.lost else next_token(tokens)}"
    )


def next_token(found):
    """How near next tokens are to the parent's."""
    return f", KL {found.kl.value:.3g}, top-1 agreement {found.top1.value:.3g}"


def between(values):
    """The smallest and the largest."""
    return f"{min(values):.3g} to {max(values):.3g}" if values else "unknown"
