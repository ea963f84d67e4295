"""Every causal language model of the installed transformers is right, or refused by name."""

from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pytest_injectivity.models.families import REFUSED
from scripts.families.small_models import KINDS, SEEING
from scripts.families.walk import Row, tried, walked
from tests.repetitions import mostly_slow

DECODER = {"is_decoder": True}

# One of each kind: what differs is how states depend on what came before.
SORTS = {
    "llama": "plain",
    "mixtral": "experts",
    "gpt_oss": "experts, sinks, sliding windows",
    "jetmoe": "experts of attention",
    "olmo3": "sliding windows",
    "jamba": "attention, recurrences and experts",
    "bloom": "distances (alibi)",
    "cohere": "parallel branches",
    "xglm": "sines made without a dtype",
    "openai-gpt": "blocks that return a list",
    "modernbert-decoder": "a configuration that takes integers only",
    "mllama": "blocks that read images alone",
}

# What no small model could be built of, which docs/families.md lists with the reasons.
NOT_TRIED: frozenset[str] = frozenset()

# Models that see: a text decoder inside, with towers beside it.
WITH_TOWERS = ("llava", "qwen2_vl", "qwen3_vl", "gemma3")


def _wrong(rows: list[Row]) -> list[str]:
    return [f"{row.kind} {row.setting}: {row.reason}" for row in rows if row.outcome == "wrong"]


@pytest.mark.parametrize("kind", mostly_slow(SORTS, "llama", "mixtral", "jamba", "bloom", "xglm"))
def test_one_of_each_sort_agrees_with_itself(kind: str) -> None:
    """Whole, batched, padded, behind a prefix and as candidates, in true float64 to 1e-9."""
    row = tried(kind)
    assert ("accepted", "") == (row.outcome, row.reason)
    assert row.difference <= 1e-9
    assert row.float32 <= 1e-4


def test_an_encoder_that_is_a_decoder_agrees_with_itself() -> None:
    """RoBERTa numbers its tokens by what they are, so its prefixes are run again."""
    row = tried("roberta", DECODER)
    assert ("accepted", "recompute") == (row.outcome, row.prefix)


def test_a_recurrence_with_a_state_of_its_own_runs_its_prefixes_again() -> None:
    """RWKV takes no cache: one handed to it would be ignored, and the prefix dropped."""
    row = tried("rwkv")
    assert ("accepted", "recompute") == (row.outcome, row.prefix)
    assert row.difference <= 1e-9
    assert row.float32 <= 1e-4


@pytest.mark.parametrize("kind", mostly_slow(WITH_TOWERS, "llava"))
def test_a_model_that_sees_is_its_text_decoder(kind: str) -> None:
    """The text decoder inside is found, and agrees with itself."""
    row = tried(kind)
    assert ("accepted", "") == (row.outcome, row.reason)


@pytest.mark.parametrize("kind", ["xlnet", "gemma3n_text", "reformer", "deepseek_v4", "musicgen"])
def test_a_refusal_says_what_the_family_does(kind: str) -> None:
    """Families in which no prompt has a state are refused in words of their own."""
    row = tried(kind)
    assert ("refused", REFUSED[kind]) == (row.outcome, row.reason)


def test_refusals_are_of_model_types_there_are() -> None:
    """A row whose model type is misspelt would refuse nothing."""
    assert REFUSED.keys() <= {*KINDS, *SEEING}


def test_the_page_of_families_lists_each_of_them() -> None:
    """docs/families.md has a row for every model type of the version that it was printed with."""
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text()
    if f"transformers {version('transformers')} lists" not in page:
        pytest.skip("docs/families.md was printed with another version of transformers")
    assert KINDS
    assert [] == [kind for kind in (*KINDS, *SEEING) if f"| `{kind}`" not in page]


@pytest.mark.slow
def test_every_causal_language_model_is_right_or_refused() -> None:
    """No model type is wrong, and none is passed over without being listed."""
    rows = list(walked(KINDS))
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == {row.kind for row in rows}
    assert [] == _wrong(rows)
    assert NOT_TRIED == {row.kind for row in rows if row.outcome == "not tried"}
    assert all(row.reason for row in rows if row.outcome != "accepted")
    assert Counter(row.outcome for row in rows)["accepted"] > 100


@pytest.mark.slow
def test_every_model_that_sees_or_hears_is_right_or_refused() -> None:
    """No text decoder inside a larger model is wrong."""
    rows = list(walked(SEEING))
    assert [] == _wrong(rows)
    assert {"accepted"} <= {row.outcome for row in rows}
