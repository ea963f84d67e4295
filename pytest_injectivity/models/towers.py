"""Takes a model that also sees or hears for its text decoder alone.

Beside the decoder such a model has towers: an encoder of images or of sound, and what turns its output
into embeddings. Token ids never reach them, so they are taken off the model and listed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

_CLASSES: tuple[tuple[Any, Any], ...] = (
    (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModelForCausalLM),
    (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, AutoModelForImageTextToText),
    (MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES, AutoModelForMultimodalLM),
)


def auto_class(config: PreTrainedConfig) -> Any:
    """The class of transformers that loads a model type with a language-model head; None: none does."""
    return next((one for names, one in _CLASSES if config.model_type in names), None)


def leave_out_towers(model: PreTrainedModel, base: str) -> tuple[str, ...]:
    """Takes what token ids never reach off a model that holds a text decoder.

    Args:
        model: changed in place.
        base: dotted path of its text decoder.

    Returns:
        The towers by name, those that were taken off before included; none where the model is a text
        decoder itself.
    """
    if model.config.get_text_config() is model.config:
        return ()
    typeless: Any = model
    head = typeless.get_output_embeddings()
    owner: nn.Module = model
    path: list[str] = []
    found = []
    for name in base.split("."):
        for other, child in list(owner.named_children()):
            if other != name and all(one is not head for one in child.modules()):
                setattr(owner, other, _LeftOut(next(model.parameters())))
                found.append(".".join([*path, other]))
        owner = owner.get_submodule(name)
        path.append(name)
    return tuple(found)


class _LeftOut(nn.Module):
    """Stands where a tower was, for models that ask on which device it is though it is not run."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.register_buffer("nothing", like.new_empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.get_buffer("nothing").device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model."""
        return self.get_buffer("nothing").dtype
