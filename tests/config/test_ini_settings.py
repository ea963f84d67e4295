"""What a command takes from a suite's ini."""

import pytest

from pytest_injectivity.config.ini_settings import config_with_ini
from pytest_injectivity.errors import OptionError


def test_prompts_layers_and_machine_are_taken() -> None:
    """As pytest takes them."""
    ini = {
        "injx_prompts": "p.txt",
        "injx_layers": "2,norm",
        "injx_no_cache": "Yes",
        "addopts": "-q",
    }
    config = config_with_ini(ini | {"injx_show_prompts": "off"}, {})
    assert ("p.txt", "2,norm") == (config.prompts, config.layers)
    assert config.no_cache
    assert not config.show_prompts


def test_what_is_given_wins() -> None:
    """None was not given."""
    ini = {"injx_prompts": "p.txt", "injx_seed": "3"}
    config = config_with_ini(ini, {"prompts": "q.txt", "seed": None})
    assert ("q.txt", 3) == (config.prompts, config.seed)


def test_models_and_what_is_about_a_run_of_tests_are_left_out() -> None:
    """A command names its own."""
    ini = {f"injx_{name}": "elsewhere" for name in ("model", "reference", "states", "baseline")}
    config = config_with_ini(ini | {"injx_dtype": "float64", "injx_release": "identity@2"}, {})
    assert config_with_ini({}, {}) == config


@pytest.mark.parametrize(
    ("name", "value"), [("injx_no_cache", "maybe"), ("injx_max_prompts", "many")]
)
def test_a_value_that_is_not_accepted_is_named(name: str, value: str) -> None:
    """By its name in the ini."""
    with pytest.raises(OptionError, match=f"{name}: '{value}' is not accepted"):
        config_with_ini({name: value}, {})
