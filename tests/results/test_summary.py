from pytest_injectivity.core.strict_json import dumps, loads
from pytest_injectivity.results.summary import LayerSummary, RunSummary

RUN = RunSummary(
    model="some/model",
    revision=None,
    family="gpt2",
    n_layers=2,
    hidden=16,
    vocab=256,
    dtype="float32",
    device="cpu",
    assumptions="all hold",
    prompts="p.jsonl",
    n=12,
    prompt_hash="0123456789abcdef" * 4,
    shortest=1,
    longest=9,
    special_tokens=False,
    dropped={"duplicates": 1, "overlong": 0, "empty": 0},
    prompt_metric="levenshtein",
    seed=0,
    versions={"torch": "2"},
)
LAYER = LayerSummary("layer01", None, 12, numbers={"mean_norm": 4.0, "margin_q": 2.0})


def test_a_summary_survives_json() -> None:
    """What travels from a worker is what was sent."""
    assert RUN == loads(RunSummary, dumps(RUN))
    assert LAYER == loads(LayerSummary, dumps(LAYER))


def test_the_subject_says_what_a_number_belongs_to() -> None:
    """Model, dtype, device, N, prompts and their hash (DESIGN, rule 5)."""
    assert "some/model (float32, cpu), 12 prompts of p.jsonl [0123456789ab]" == RUN.subject


def test_rounded_states_are_another_layer() -> None:
    """A run has one summary of a layer and a number of bits."""
    assert ("layer01", None) == LAYER.key
    assert ("layer01", 4) == LayerSummary("layer01", 4, 12).key
