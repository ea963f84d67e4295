"""Tests of conversations written by chat templates."""

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.testing import byte_tokenizer

PLAIN = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}|{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
BOS = 256


def chatting(template: str | None, *, bos: bool = False) -> Any:
    tokenizer = byte_tokenizer(bos=bos)
    tokenizer.chat_template = template
    return tokenizer


def saved(folder: Path, *conversations: list[tuple[str, str]]) -> Path:
    path = folder / "chat.jsonl"
    rows = (
        {"messages": [{"role": role, "content": content} for role, content in each]}
        for each in conversations
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TALK = [("user", "Who?"), ("assistant", "I."), ("user", "Why?"), ("assistant", "So.")]


@pytest.mark.parametrize(
    ("which", "text", "said"),
    [
        ("prompt", "u:Who?|a:I.|u:Why?|a:", "up to the model's last answer, with its generation"),
        ("whole", "u:Who?|a:I.|u:Why?|a:So.|", "by the model's chat template, whole"),
    ],
)
def test_what_of_a_conversation_is_written(
    tmp_path: Path, which: Any, text: str, said: str
) -> None:
    """By default what the model sees before it answers; on demand all messages and nothing else."""
    path = saved(tmp_path, TALK, [("user", "x")])

    prompts = load_prompts(path, chatting(PLAIN), conversations=which)

    assert prompts.texts is not None
    assert (text, True) == (prompts.texts[0], prompts.templated)
    assert said in "; ".join(prompts.notes)


@pytest.mark.parametrize("mode", ["auto", "no", "yes"])
@pytest.mark.parametrize("template", [PLAIN, "{{ bos_token }}" + PLAIN])
def test_bos_is_never_doubled(tmp_path: Path, template: str, mode: Any) -> None:
    """The template decides about BOS; the tokenizer, which adds one to texts, adds none to its text."""
    path = saved(tmp_path, TALK, [("user", "x")])
    writes_bos = template != PLAIN

    prompts = load_prompts(path, chatting(template, bos=True), special_tokens=mode)

    assert {int(writes_bos or mode == "yes")} == {ids.count(BOS) for ids in prompts.ids}
    assert all((BOS in ids) == (ids[0] == BOS) for ids in prompts.ids)
    assert "twice" not in "; ".join(prompts.notes)


def test_challenge_sets_of_conversations_double_no_bos(tmp_path: Path) -> None:
    """Variants are made of the text that the template wrote, with its BOS."""
    path = saved(tmp_path, TALK, [("user", "x")])
    tokenizer = chatting("{{ bos_token }}" + PLAIN, bos=True)

    prompts = load_prompts(f"builtin:challenge({path})", tokenizer)

    made = [
        ids for ids, kind in zip(prompts.ids, prompts.kinds or (), strict=True) if kind == "space"
    ]
    assert made
    assert {1} == {ids.count(BOS) for ids in made}


def test_a_doubled_bos_of_texts_is_told(tmp_path: Path) -> None:
    """Texts that a template wrote elsewhere begin with BOS, and the tokenizer adds another."""
    path = tmp_path / "a.jsonl"
    tokenizer = byte_tokenizer(bos=True)
    path.write_text("".join(json.dumps(f"{tokenizer.bos_token}{text}") + "\n" for text in "ab"))

    told = load_prompts(path, tokenizer)
    without = load_prompts(path, tokenizer, special_tokens="no")

    assert ((BOS, BOS, ord("a")), (BOS, ord("a"))) == (told.ids[0], without.ids[0])
    assert "2 prompts begin with BOS twice" in "; ".join(told.notes)
    assert "--injx-special-tokens=no" in "; ".join(told.notes)
    assert () == without.notes


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system role') }}", "TemplateError: no system role"),
        ("{% for", "TemplateSyntaxError"),
        ("{{ messages[0].content.nothing.at.all }}", "UndefinedError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ 'x' * 9999999 }}", "wrote 9,999,999 characters for a conversation of"),
        ("{% for _ in range(100001) %}x{% endfor %}", "OverflowError"),
    ],
)
def test_a_hostile_template_is_one_error(tmp_path: Path, template: str, reason: str) -> None:
    """Whatever a template raises is told in one line with the place of the conversation."""
    path = saved(tmp_path, TALK, [("user", "x")])

    with pytest.raises(PromptError) as caught:
        load_prompts(path, chatting(template))

    assert "chat.jsonl, line 1" in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (chatting(None), r"no chat template .*--injx-prompt-field=messages\.0\.content$"),
        (None, "no tokenizer to write it with: give token ids$"),
    ],
)
def test_a_model_that_cannot_write_conversations(
    tmp_path: Path, tokenizer: Any, message: str
) -> None:
    """One sentence says what is missing and how one message is read instead."""
    path = saved(tmp_path, TALK, [("user", "x")])

    with pytest.raises(PromptError, match=message):
        load_prompts(path, tokenizer)


def test_a_template_that_asks_for_the_date_is_told(tmp_path: Path) -> None:
    """Its prompts are others tomorrow, and so is the hash of the set."""
    path = saved(tmp_path, TALK, [("user", "x")])

    prompts = load_prompts(path, chatting("{{ strftime_now('%d %b') }}" + PLAIN))

    assert "today's date" in "; ".join(prompts.notes)


def test_windows_of_conversations(tmp_path: Path) -> None:
    """Conversations are cut into windows as texts are."""
    path = saved(tmp_path, TALK, [("user", "x")])

    prompts = load_prompts(path, chatting(PLAIN), length=4)

    assert {4} == set(prompts.lengths.tolist())
    assert ("u:Wh", True) == ((prompts.texts or ("",))[0], prompts.templated)
