"""The models of a run: by flags, by lines of an ini value, by a table; their names; what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity import AuditConfig, OptionError
from pytest_injectivity.config.run_models import RunModels, run_models, short_names


@pytest.mark.parametrize(
    ("flags", "ini"),
    [({}, {}), ({"model": ["gpt2"]}, {}), ({"model": "gpt2"}, {}), ({}, {"model": "gpt2"})],
)
def test_one_model_has_no_name(flags: dict[str, object], ini: dict[str, object]) -> None:
    """However it is given; its config is that of the run."""
    models = run_models({**flags, "seed": 3}, ini)
    expected = AuditConfig(seed=3, **({"model": "gpt2"} if flags or ini else {}))
    assert ({"": expected}, expected, ()) == (models.configs, models.common, models.names)
    assert expected.command_line() == models.command_line()


@pytest.mark.parametrize(
    ("flags", "ini"),
    [({"model": ["x/a", "x/b"]}, {}), ({}, {"model": "\n x/a\n\nx/b \n"})],
    ids=["flags", "lines"],
)
def test_several_models_have_the_names_of_their_folders(
    flags: dict[str, object], ini: dict[str, object]
) -> None:
    """All else is common; the command line names each of them."""
    models = run_models({**flags, "seed": "3"}, ini)
    assert {
        "a": AuditConfig(model="x/a", seed=3),
        "b": AuditConfig(model="x/b", seed=3),
    } == models.configs
    assert "--injx-model=x/a --injx-model=x/b --injx-seed=3" == models.command_line()


def test_flags_win_over_lines_and_table() -> None:
    """As every flag wins over its ini value."""
    table = ["nf4 model=x/a quantization=bnb-nf4"]
    assert ("b", "c") == run_models({"model": ["b", "c"]}, {}, table).names
    assert ("b", "c") == run_models({"model": ["b", "c"]}, {"model": "x\ny"}).names


def test_rows_have_names_and_settings_of_their_own() -> None:
    """What a row does not say is common; a flag wins over the row."""
    table = ["nf4 model='x/a b' quantization=bnb-nf4 reference=p", "wide model=x/a dtype=float64"]
    models = run_models({}, {"seed": "3", "reference": "q"}, table)
    assert (
        AuditConfig(model="x/a b", quantization="bnb-nf4", reference="p", seed=3)
        == (models.configs["nf4"])
    )
    assert (
        AuditConfig(model="x/a", dtype="float64", reference="q", seed=3) == models.configs["wide"]
    )
    assert "--injx-reference=q --injx-seed=3" == models.command_line()
    typed = run_models({"reference": "r"}, {}, table)
    assert {"r"} == {config.reference for config in typed.configs.values()}
    assert ("only",) == run_models({}, {}, ["only model=a"]).names


@pytest.mark.parametrize(
    ("flags", "ini", "table", "message"),
    [
        ({"model": ["a", "a"]}, {}, [], "the model a is there twice"),
        ({"model": ["a", ""]}, {}, [], "--injx-model: '' is empty"),
        ({}, {"model": "a"}, ["b model=b"], "injx_model and injx_models both name models"),
        ({}, {}, ["a model=x", "a model=y"], "injx_models: a is there twice"),
        ({}, {}, ["a model=x", "b model=x"], r"x is there twice, loaded the same way \(a and b\)"),
        ({}, {}, ["a"], "injx_models, a: no model is named: give NAME model=MODEL"),
        (
            {},
            {},
            ["a model=x seed=3"],
            "'seed=3' is not accepted: give NAME model=MODEL, and any of",
        ),
        ({}, {}, ["a model=x model=y"], "'model=y' is not accepted"),
        ({}, {}, ["a model="], "'model=' is not accepted"),
        ({}, {}, ["a model='x"], "No closing quotation"),
        ({}, {}, ["a[1] model=x"], r"'a\[1\]' is no name"),
        ({}, {}, ["model=x"], "'model=x' is no name"),
        ({}, {}, ["a model=x dtype=int3"], "injx_models, a: injx_dtype: 'int3' is not accepted"),
    ],
)
def test_what_is_not_accepted_is_named(
    flags: dict[str, object], ini: dict[str, object], table: list[str], message: str
) -> None:
    """With what is."""
    with pytest.raises(OptionError, match=message):
        run_models(flags, ini, table)


def test_one_folder_by_two_paths_is_one_model(tmp_path: Path) -> None:
    """Also through a link."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    paths = [str(tmp_path / name) for name in ("a", "link")]
    with pytest.raises(OptionError, match="is there twice"):
        run_models({"model": paths}, {})


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["org/name@main", "builtin:gpt2-stdlib"], ["name", "gpt2-stdlib"]),
        (["a/best", "b/best", "c"], ["a-best", "b-best", "c"]),
        (["org/name@1", "org/name@2"], ["org-name", "org-name-2"]),
        (["x y", "x-y"], ["x-y", "x-y-2"]),
        (["Q4_K_M.gguf", "/"], ["Q4_K_M.gguf", "model"]),
    ],
)
def test_names_are_the_last_parts(sources: list[str], names: list[str]) -> None:
    """As many as tell the models apart."""
    assert names == short_names(sources)


@given(st.lists(st.text(alphabet="ab/@: [-.\x00é", max_size=12), min_size=1, max_size=6))
def test_names_are_apart_and_fit_test_ids(sources: list[str]) -> None:
    """Whatever the models are called."""
    names = short_names(sources)
    assert len(sources) == len(set(names))
    letters = set("".join(names))
    assert letters <= set("abcdefghijklmnopqrstuvwxyz0123456789-._")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, ""),
        ({"quantization": "bnb-nf4"}, "m-bnb-nf4"),
        ({"dtype": "float64", "reference": "p"}, "m-float64"),
        ({"activation_bits": "4 per-token"}, "m-4-per-token"),
        ({"model": "y/other"}, "other"),
    ],
)
def test_a_config_beside_the_runs_has_a_name_of_its_differences(
    changes: dict[str, Any], name: str
) -> None:
    """The run's own has the run's."""
    models = run_models({"model": ["x/m"], "seed": 1}, {})
    assert name == models.name_of(AuditConfig(**{"model": "x/m", "seed": 1, **changes}))


def test_configs_with_the_same_kind_of_model_have_different_names() -> None:
    """Of other prompts, or of a model that is called as one of the run."""
    models = RunModels(
        {"m": AuditConfig(model="x/m"), "n": AuditConfig(model="x/n")}, AuditConfig()
    )
    others = [
        AuditConfig(model="x/m", seed=2),
        AuditConfig(model="x/m", seed=3),
        AuditConfig(model="m"),
    ]
    names = [models.name_of(one) for one in others]
    assert all(name.startswith("m-") for name in names)
    assert len(others) == len(set(names))
