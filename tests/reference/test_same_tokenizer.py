"""Rules of tokenizers that split texts otherwise, and rules that are only written otherwise."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, pre_tokenizers, processors

from pytest_injectivity.reference.differences import Effect
from pytest_injectivity.reference.same_tokenizer import tokenizer_differences
from pytest_injectivity.testing import byte_tokenizer


def _edited(**parts: Any) -> Any:
    """The tokenizer of bytes with other parts in its JSON."""
    tokenizer = byte_tokenizer()
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["model"] |= parts.pop("model", {})
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps({**rules, **parts}))
    return tokenizer


def _fields(child: Any, parent: Any, **given: Any) -> dict[str, Effect]:
    return {one.field: one.effect for one in tokenizer_differences(child, parent, **given)}


def test_equal_tokenizers_differ_in_nothing() -> None:
    """Nor do two models without any."""
    assert () == tokenizer_differences(byte_tokenizer(), byte_tokenizer())
    assert () == tokenizer_differences(None, None)


def test_a_tokenizer_that_only_one_brings_may_be_a_difference() -> None:
    """Nothing was compared then, and that is said."""
    (found,) = tokenizer_differences(None, byte_tokenizer())
    assert ("tokenizer", "none", Effect.MAY) == (found.field, found.child, found.effect)


def test_swapped_tokens_are_counted_and_the_first_is_named() -> None:
    """Both ids exist in both vocabularies."""
    vocab = json.loads(byte_tokenizer().backend_tokenizer.to_str())["model"]["vocab"]
    swapped = {**vocab, "a": vocab["b"], "b": vocab["a"]}
    found = tokenizer_differences(_edited(model={"vocab": swapped}), byte_tokenizer())
    first = found[0]
    assert ("tokenizer.vocab (2 tokens)", Effect.CHANGES) == (first.field, first.effect)
    assert ("98 for 'a'", "97 for 'a'") == (first.child, first.parent)


def test_another_split_changes_the_ids_of_a_text() -> None:
    """The rule is named with the text that shows it."""
    lower = {"type": "Lowercase"}
    found = _fields(_edited(normalizer=lower), byte_tokenizer())
    assert Effect.CHANGES is found["tokenizer.normalizer"]
    assert any(field.startswith("ids of 'The quick") for field in found)


def test_a_rule_without_an_effect_on_texts_may_be_one() -> None:
    """Between folders it is listed; a .gguf file writes rules otherwise."""
    spaces = {"type": "Replace", "pattern": {"String": "qqzzqq"}, "content": "x"}
    child = _edited(normalizer=spaces)
    assert {"tokenizer.normalizer": Effect.MAY} == _fields(child, byte_tokenizer())
    assert {} == _fields(child, byte_tokenizer(), converted=True)


def test_a_token_put_before_every_text_is_a_difference() -> None:
    """As a post-processor of a child that adds none."""
    child, parent = byte_tokenizer(bos=True), byte_tokenizer(bos=True)
    child.backend_tokenizer.post_processor = processors.ByteLevel()
    found = _fields(child, parent)
    assert Effect.CHANGES is found["tokenizer.post_processor"]
    assert "ids around a text" in found


def test_texts_around_added_tokens_are_tried() -> None:
    """A token that takes the space before it is found though no usual text holds it."""
    child, parent = byte_tokenizer(bos=True), byte_tokenizer(bos=True)
    rules = json.loads(child.backend_tokenizer.to_str())
    rules["added_tokens"][0]["lstrip"] = True
    rules["added_tokens"][0]["rstrip"] = True
    child._tokenizer = Tokenizer.from_str(json.dumps(rules))
    assert Effect.CHANGES is _fields(child, parent)["tokenizer.added_tokens"]


@pytest.mark.parametrize(
    ("name", "effect"),
    [("eos_token", Effect.CHANGES), ("unk_token", Effect.CHANGES), ("pad_token", Effect.MAY)],
)
def test_another_special_token_is_named(name: str, effect: Effect) -> None:
    """By its text; what only a .gguf file leaves out is none."""
    child, parent = byte_tokenizer(), byte_tokenizer()
    for tokenizer, token in ((child, "a"), (parent, "b")):
        tokenizer._special_tokens_map[name] = token
    assert {f"tokenizer.{name}": effect} == _fields(child, parent)
    assert {f"tokenizer.{name}": effect} == _fields(child, parent, converted=True)
    child._special_tokens_map[name] = None
    assert {f"tokenizer.{name}": effect} == _fields(child, parent)
    assert {} == _fields(child, parent, converted=True)


def test_another_chat_template_is_shown_from_where_it_differs() -> None:
    """Not from its beginning, which both have."""
    child, parent = byte_tokenizer(), byte_tokenizer()
    parent.chat_template = "{{ bos }}" + "a" * 500 + "the end {{ eos }}"
    child.chat_template = parent.chat_template.replace("the end", "an end")
    (found,) = tokenizer_differences(child, parent)
    assert ("chat_template", Effect.CHANGES) == (found.field, found.effect)
    assert "an end {{ eos }}" in found.child
    assert "the end {{ eos }}" in found.parent
    child.chat_template = None
    assert "none" == tokenizer_differences(child, parent)[0].child


def test_merges_are_compared_by_what_they_say() -> None:
    """Files of older versions write a merge as one text; another order is another rule."""
    vocab = {**byte_tokenizer().get_vocab(), "ab": 256, "bc": 257}
    merges = [["a", "b"], ["b", "c"]]
    parent = _edited(model={"vocab": vocab, "merges": merges})
    child = _edited(model={"vocab": vocab, "merges": merges[::-1]})
    assert Effect.MAY is _fields(child, parent)["tokenizer.merges"]
    same = _edited(model={"vocab": vocab, "merges": ["a b", "b c"]})
    assert {} == _fields(same, parent)


def test_a_pre_tokenizer_that_adds_a_space_is_named() -> None:
    """One option of a rule is enough."""
    child = byte_tokenizer()
    child.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=True, use_regex=False
    )
    assert Effect.CHANGES is _fields(child, byte_tokenizer())["tokenizer.pre_tokenizer"]
