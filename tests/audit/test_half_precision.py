"""Gates of trained models in bfloat16: as usable as those in float32."""

import json
from pathlib import Path

import pytest

from pytest_injectivity import Audit, AuditConfig

_SHARED = Path(__file__).parents[2] / ".." / "shared"
MODELS = ("gpt2-1m", "qwen3-1m", "stories260k-llama")


def _audit(folder: Path, name: str, texts: list[str], **config: object) -> Audit:
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return Audit(
        AuditConfig(
            model=str(_SHARED / "models" / name),
            prompts=str(path),
            dtype="bfloat16",
            device="cpu",
            overlong="drop",
            **config,  # type: ignore[arg-type]
        )
    )


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """A thousand natural prompts; the test is skipped where they are not on this machine."""
    path = _SHARED / "prompts" / "prompts-1k.jsonl"
    if not path.is_file():
        pytest.skip("the shared prompts are not on this machine")
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    """A trained model; the test is skipped where it is not on this machine."""
    if not (_SHARED / "models" / request.param / "config.json").is_file():
        pytest.skip(f"the trained model {request.param} is not on this machine")
    return str(request.param)


@pytest.mark.slow
def test_no_subset_of_natural_prompts_is_red(tmp_path: Path, name: str, texts: list[str]) -> None:
    """20 subsets of 50 prompts, at every layer: no collision, and no pair that is not resolved."""
    red = [
        verdict.first_line
        for at in range(20)
        if not (
            verdict := _audit(tmp_path, name, texts[at::20], layers="all").check_no_collisions()
        ).passed
    ]
    assert [] == red


@pytest.mark.slow
def test_prompts_are_recovered_in_bfloat16(tmp_path: Path, name: str, texts: list[str]) -> None:
    """20 of 20 prompts of 10 tokens at the first and at the last layer."""
    audit = _audit(tmp_path, name, texts[:300], layers="1,-1")
    verdict = audit.check_sipit_recovers(prompts=20, tokens=10, certify=20)
    assert verdict.passed, verdict.text
