"""Configurations that describe another model than the files hold, refused before anything is built."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

HUGE = 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder("qwen3"), tmp_path / "checkpoint")


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": HUGE}, r"num_hidden_layers 1000000000 is not accepted: 0 to 10000"),
        ({"num_hidden_layers": -1}, r"num_hidden_layers -1 is not accepted"),
        ({"num_hidden_layers": 9000, "layer_types": None}, r"names 9000 blocks, .* weights for 2"),
        ({"num_hidden_layers": 3, "layer_types": None}, r"names 3 blocks, .* weights for 2"),
        ({"vocab_size": HUGE}, r"another shape for lm_head\.weight, model\.embed_tokens\.weight"),
        ({"hidden_size": HUGE * 4}, r"another shape for"),
        ({"intermediate_size": HUGE}, r"another shape for model\.layers\.0\.mlp\.down_proj"),
        ({"head_dim": HUGE}, r"another shape for"),
        ({"num_key_value_heads": HUGE, "num_attention_heads": HUGE}, r"another shape for"),
        ({"num_experts": HUGE}, r"num_experts 1000000000 is not accepted"),
        ({"text_config": {"num_hidden_layers": HUGE}}, r"num_hidden_layers 1000000000"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_size_that_the_files_do_not_have_is_refused_at_once(
    values: dict[str, Any], message: str, folder: Path
) -> None:
    """Nothing of that size is built: the refusal takes no more than a moment."""
    _configure(folder, **values)
    began = time.monotonic()
    with pytest.raises(ModelError, match=message):
        load_decoder(str(folder), device="cpu")
    assert time.monotonic() - began < 10


SIZES = {
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "head_dim": 4,
    "num_attention_heads": 4,
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(SIZES)), times=st.integers(2, 10**12))
def test_no_size_beyond_the_files_is_loaded(
    name: str, times: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the factor, what the configuration says has no tensors, and is refused."""
    folder = save_checkpoint(tiny_decoder("qwen3"), tmp_path_factory.mktemp("sizes") / "qwen3")
    _configure(folder, **{name: SIZES[name] * times, "layer_types": None})
    with pytest.raises(ModelError):
        load_decoder(str(folder), device="cpu")


def test_a_table_as_large_as_a_claimed_context_is_not_made(tmp_path: Path) -> None:
    """Learned positions have a tensor, whose shape is compared."""
    folder = save_checkpoint(tiny_decoder("gpt2"), tmp_path / "gpt2")
    _configure(folder, n_positions=HUGE)
    with pytest.raises(ModelError, match=r"another shape for transformer\.wpe\.weight"):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize("experts", [99_999, 64])
def test_experts_that_are_not_there_are_refused(experts: int, tmp_path: Path) -> None:
    """The files hold as many as they hold."""
    folder = save_checkpoint(tiny_decoder("llama"), tmp_path / "llama")
    _configure(folder, model_type="mixtral", num_local_experts=experts)
    with pytest.raises(ModelError, match=rf"names {experts} experts|no weights for"):
        load_decoder(str(folder), device="cpu")
