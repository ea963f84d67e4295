"""Loads the tokenizer of a ``.gguf`` file.

The library's automatic choice of a class reads the whole file's metadata by its slow reader, to learn
the kind of model, which is known here.
"""

from typing import Any

from transformers import TOKENIZER_MAPPING, PreTrainedConfig, PreTrainedTokenizerFast

from pytest_injectivity.quantization.gguf_header import GgufHeader

# Its vocabulary comes from files of Mistral's own.
_OF_OTHER_FILES = "MistralCommonBackend"


def load_gguf_tokenizer(header: GgufHeader, config: PreTrainedConfig) -> Any:
    """The tokenizer that a file describes, of the class that transformers has for the model.

    Args:
        header: the file's.
        config: the model's.
    """
    mapping: Any = TOKENIZER_MAPPING
    found = mapping.get(type(config), None)
    if found is None or found.__name__ == _OF_OTHER_FILES:
        found = PreTrainedTokenizerFast
    return found.from_pretrained(
        header.path.parent,
        gguf_file=header.path.name,
        trust_remote_code=False,
        local_files_only=True,
    )
