"""Tests of prompt files in the shapes in which people have them."""

from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.testing import byte_tokenizer
from tests.prompts.files.shapes import SHAPES, Shape

TEMPLATE = """
{%- if tools %}tools {{ tools | length }}|{% endif %}
{%- for message in messages %}{{ message.role }}:{{ message.content }}
{%- for call in message.tool_calls or [] %}calls {{ call.function.name }}{% endfor %}|{% endfor %}
{%- if add_generation_prompt %}ask{% endif %}"""


@pytest.fixture(scope="module")
def chatting() -> Any:
    """A tokenizer of bytes with a chat template."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.texts])
def test_shapes_that_are_read(chatting: Any, tmp_path: Path, name: str) -> None:
    """The prompts are those that a person would name, no id is one, and a guess is announced."""
    shape = SHAPES[name]

    prompts = load_prompts(_written(tmp_path, shape), chatting, field=shape.field)

    assert shape.texts == prompts.texts
    assert shape.said in "; ".join(prompts.notes)


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if not shape.texts])
def test_shapes_that_are_refused(chatting: Any, tmp_path: Path, name: str) -> None:
    """One sentence names the place and what is accepted."""
    shape = SHAPES[name]

    with pytest.raises(PromptError) as caught:
        load_prompts(_written(tmp_path, shape), chatting, field=shape.field)

    assert shape.said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_are_shapes_of_both_kinds() -> None:
    """The table holds more than thirty shapes, read and refused ones."""
    read = sum(bool(shape.texts) for shape in SHAPES.values())

    assert read > 20
    assert len(SHAPES) - read > 10


def test_rows_without_a_prompt_are_counted(chatting: Any, tmp_path: Path) -> None:
    """Empty texts, empty lists of messages and conversations of answers alone are no prompts."""
    counts = [
        load_prompts(_written(tmp_path, SHAPES[name]), chatting).dropped_empty
        for name in ("empty rows", "empty conversations")
    ]

    assert [2, 2] == counts


def _written(folder: Path, shape: Shape) -> Path:
    path = folder / shape.name
    path.write_bytes(shape.content)
    return path
