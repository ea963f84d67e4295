"""The gate with thresholds calibrated on trained models: sound children are green, damaged ones red."""

from pathlib import Path

import pytest

from pytest_injectivity import load_decoder
from pytest_injectivity.__main__ import main
from pytest_injectivity.testing import double_block, save_checkpoint
from tests.integration.support import output
from tests.quantized import needs

SHARED = Path(__file__).parents[3] / "shared" / "models"
MODELS = ("qwen3-1m", "stories260k-llama")
NF4 = "--injx-quantization=bnb-nf4"

# SipIt and the whole vocabulary are apart: they have no threshold.
FEW = ("-k", "stay_near or tokens_are or is_kept or margin or constant or rounded", "-q")


@pytest.fixture(params=MODELS)
def parent(request: pytest.FixtureRequest) -> Path:
    """A trained model, in full precision."""
    needs("bnb")
    folder: Path = SHARED / request.param
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    return folder


@pytest.mark.slow
def test_sound_children_are_green_and_damaged_ones_red(
    pytester: pytest.Pytester, parent: Path
) -> None:
    """In nf4, by thresholds from other prompts than those that are judged."""
    assert 0 == main(["init"])
    made = ["--quantization=bnb-nf4", "--size=100"]
    ini = pytester.path / "injectivity" / "pytest.ini"
    ini.write_text(ini.read_text().replace("= 1000", "= 200"))
    assert 0 == main(["calibrate", str(parent), *made])

    sound = pytester.runpytest_inprocess(
        "injectivity", f"--injx-model={parent}", "--precisions=bnb-nf4", *FEW
    )
    assert pytest.ExitCode.OK == sound.ret, output(sound)
    assert sound.parseoutcomes()["passed"] > 10

    damaged = save_checkpoint(double_block(load_decoder(str(parent)), 2), pytester.path / "damaged")
    broken = pytester.runpytest_inprocess(
        "injectivity", f"--injx-model={damaged}", f"--injx-reference={parent}", NF4, *FEW
    )
    assert pytest.ExitCode.TESTS_FAILED == broken.ret, output(broken)
    assert "FAIL state_drift_below layer02: " in output(broken)
