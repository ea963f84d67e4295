from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output, said

EACH = "def test_each(injx, injx_layer):\n    injx.assert_no_collisions(injx_layer)\n"


def _ids(result: pytest.RunResult) -> list[str]:
    return [line.partition("[")[2][:-1] for line in result.outlines if line.endswith("]")]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["layer01", "layer02", "layer03", "layer04", "norm"]),
        ("norm", ["norm"]),
        ("0", ["layer00"]),
        ("-1", ["layer04"]),
        ("3:", ["layer03", "layer04"]),
        ("norm,2,0:2", ["layer00", "layer01", "layer02", "norm"]),
        ("::2", ["layer01", "layer03"]),
        ("0::2", ["layer00", "layer02", "layer04"]),
    ],
)
def test_one_id_a_layer(audited: Run, layers: str | None, expected: list[str]) -> None:
    """The ids are those of the layers asked for, shallow first, whatever their order."""
    flags = [] if layers is None else [f"--injx-layers={layers}"]
    result = audited(EACH, "--collect-only", "-q", *flags, model="nan-from-layer-3")
    assert pytest.ExitCode.OK == result.ret
    assert expected == _ids(result)


def test_the_value_is_the_layer(audited: Run) -> None:
    """``injx_layer`` is an int or ``"norm"``, ready to be passed on."""
    result = audited("""
        seen = []

        def test_each(injx, injx_layer):
            seen.append(injx_layer)
            injx.assert_no_collisions(injx_layer)

        def test_all():
            assert [1, 2, "norm"] == seen
    """)
    result.assert_outcomes(passed=4)


def test_collecting_loads_no_weights(pytester: pytest.Pytester, tiny: Path) -> None:
    """The ids come from config.json alone: corrupt weights do not matter until a test runs."""
    (tiny / "model.safetensors").write_bytes(b"not weights")
    pytester.makepyfile(EACH)
    collected = pytester.runpytest_inprocess("--collect-only", "-q", f"--injx-model={tiny}")
    assert pytest.ExitCode.OK == collected.ret
    assert ["layer01", "layer02", "norm"] == _ids(collected)
    run = pytester.runpytest_inprocess(f"--injx-model={tiny}")
    assert pytest.ExitCode.USAGE_ERROR == run.ret
    assert "model.safetensors" in output(run)


def test_a_test_without_the_fixture_needs_no_model(pytester: pytest.Pytester) -> None:
    """A model that is not there is no matter for tests that do not ask for it."""
    pytester.makeini("[pytest]\ninjx_model = /no/such/folder\n")
    pytester.makepyfile("def test_unit():\n    pass\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret


@pytest.mark.parametrize(
    "mark",
    [
        '"injx_layer", [2, "norm"]',
        '["injx_layer"], [[2], ["norm"]]',
        '"injx_layer, other", [(2, 0), ("norm", 0)]',
        'argnames="injx_layer", argvalues=[2, "norm"]',
    ],
)
def test_a_tests_own_layers_win(audited: Run, mark: str) -> None:
    """A test that parametrises ``injx_layer`` itself gets its own layers and no others."""
    result = audited(f"""
        import pytest

        @pytest.fixture
        def other():
            pass

        @pytest.mark.parametrize({mark})
        def test_each(injx, injx_layer, other):
            assert injx_layer in (2, "norm")
            injx.assert_no_collisions(injx_layer)
    """)
    result.assert_outcomes(passed=2)


def test_a_name_that_contains_the_fixtures_is_another(audited: Run) -> None:
    """``injx_layer_name`` parametrised beside ``injx_layer`` leaves the latter as it is."""
    result = audited("""
        import pytest

        @pytest.mark.parametrize("injx_layer_name", ["a", "b"])
        def test_each(injx, injx_layer, injx_layer_name):
            injx.assert_no_collisions(injx_layer)
    """)
    result.assert_outcomes(passed=6)


def test_classes_and_modules_are_parametrised_too(audited: Run) -> None:
    """One id a layer for methods and where a fixture asks for the layer."""
    result = audited("""
        import pytest

        @pytest.fixture
        def geometry(injx_geometry, injx_layer):
            return injx_geometry(injx_layer)

        class TestLayers:
            def test_margin(self, geometry, injx_layer):
                assert geometry.layer == injx_layer
                assert geometry.margin() > 0
    """)
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--injx-model={tiny}", "--injx-layers=3"],
            "layer 3 is out of range: this model has layers 0 to 2",
        ),
        (
            ["--injx-model={tiny}", "--injx-layers=deep"],
            "layer 'deep' (in 'deep') is not of the grammar",
        ),
        (["--injx-model={tiny}", "--injx-layers=2:1"], "layers '2:1' name no layer"),
        (["--injx-model=no-such-folder"], "'no-such-folder': no such folder"),
    ],
)
def test_what_names_no_layer_is_wrong_use(
    pytester: pytest.Pytester, tiny: Path, flags: list[str], message: str
) -> None:
    """It ends the collection with one paragraph, exit status 4 and no traceback."""
    pytester.makepyfile(EACH)
    given = [flag.format(tiny=tiny) for flag in flags]
    result = pytester.runpytest_inprocess(*given, "--injx-require")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert message in said(result)
    assert "Traceback" not in output(result)
    assert "pluggy" not in output(result).replace("pluggy-", "")
    assert "nothing was compared" not in output(result)


def test_the_layers_of_an_ini(pytester: pytest.Pytester, checkpoint: Callable[[str], Path]) -> None:
    """The ini twin names the layers where no flag does."""
    pytester.makeini(f"[pytest]\ninjx_model = {checkpoint('generic')}\ninjx_layers = 1:\n")
    pytester.makepyfile(EACH)
    assert ["layer01", "layer02"] == _ids(pytester.runpytest_inprocess("--collect-only", "-q"))
    flag = pytester.runpytest_inprocess("--collect-only", "-q", "--injx-layers=norm")
    assert ["norm"] == _ids(flag)
