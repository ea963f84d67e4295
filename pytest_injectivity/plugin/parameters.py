"""The parameters that the plugin's fixtures give to tests: models, layers and releases."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pytest

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.errors import OptionError, WrongUse
from pytest_injectivity.plugin.audits import Audits

_CONFIG, _LAYER, _RELEASE = "injx_config", "injx_layer", "injx_release"


class LayerOf(NamedTuple):
    """A layer as parameter of a test, where the run has several models.

    Pytest puts tests with equal parameters together, and would order the layers of one model by those of
    another.

    Attributes:
        model: the name of the model.
        layer: the layer, or why the layers of the model are not known.
    """

    model: str
    layer: Layer | WrongUse


def parametrize(metafunc: pytest.Metafunc, wanted: Collection[str], audits: Audits) -> None:
    """Make one test id for each model where there are several, each layer and each release.

    Reads the configurations of models, and no weights.

    Args:
        metafunc: pytest's view of the test.
        wanted: the fixtures of the test that it does not parametrize itself.
        audits: the audits of this process.
    """
    names = () if _CONFIG not in wanted or _overridden(metafunc) else audits.models.names
    if _LAYER in wanted and names:
        # A model whose layers are not known has one test, which says why.
        metafunc.parametrize(
            (_CONFIG, _LAYER),
            list(_models_and_layers(audits, names)),
            indirect=True,
            scope="session",
        )
    elif _LAYER in wanted:
        layers = _layers(metafunc, audits)
        ids = [layer_id(layer) for layer in layers]
        metafunc.parametrize(_LAYER, layers, ids=ids, indirect=True, scope="session")
    elif names:
        metafunc.parametrize(_CONFIG, names, ids=names, indirect=True, scope="session")
    if _RELEASE in wanted:
        texts = [str(one) for one in audits.models.common.release]
        metafunc.parametrize(_RELEASE, texts, indirect=True, scope="session")


def layer_of(param: object) -> Any:
    """The layer that a parameter of ``injx_layer`` stands for.

    Raises:
        WrongUse: the layers of its model are not known.
    """
    layer = param.layer if isinstance(param, LayerOf) else param
    if isinstance(layer, WrongUse):
        raise layer.with_traceback(None)
    return layer


def model_of(item: pytest.Item) -> str | None:
    """The name of the model that a test is for; None where the run has one."""
    spec = getattr(item, "callspec", None)
    name = None if spec is None else spec.params.get(_CONFIG)
    return name if isinstance(name, str) else None


def _models_and_layers(audits: Audits, names: Collection[str]) -> Iterator[Any]:
    for name in names:
        try:
            layers = audits.of_model(name).layers
        except WrongUse as error:
            yield pytest.param(name, LayerOf(name, error), id=name)
        else:
            for layer in layers:
                yield pytest.param(name, LayerOf(name, layer), id=f"{layer_id(layer)}-{name}")


def _layers(metafunc: pytest.Metafunc, audits: Audits) -> tuple[Layer, ...]:
    """The layers of the run's model, or of the configs that a fixture ``injx_config`` has as parameters.

    Raises:
        OptionError: the models of these configs have different layers.
    """
    params = _definitions(metafunc)[-1].params if _overridden(metafunc) else None
    configs = [one for one in params or () if isinstance(one, AuditConfig)]
    if not configs:
        return audits.of_model(next(iter(audits.models.configs))).layers
    found = {audits.of(config).layers for config in configs}
    if len(found) > 1:
        raise OptionError(
            "injx_layer: the models of the fixture injx_config have different layers: name models by"
            " --injx-model or injx_models"
        )
    return found.pop()


def _overridden(metafunc: pytest.Metafunc) -> bool:
    """Whether a conftest or a file of tests has a fixture ``injx_config`` of its own."""
    definitions = _definitions(metafunc)
    return bool(definitions) and definitions[-1].func.__module__ != __package__


def _definitions(metafunc: pytest.Metafunc) -> Any:
    """The fixtures ``injx_config`` that the test could use, the nearest last."""
    return metafunc._arg2fixturedefs.get(_CONFIG, ())  # noqa: SLF001 - pytest names no public way
