"""Prompt files in the shapes in which people have them, and what is right for each."""

import csv
import gzip
import io
import json
from typing import Any, NamedTuple

ASK = "ask"  # how the template of the tests marks what it adds
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f466"  # one emoji of three, joined by ZWJ


class Shape(NamedTuple):
    """A file and what is right for it.

    Attributes:
        name: the file's name.
        content: its content.
        texts: the prompts that are read; empty where the file is refused.
        said: what the notes, or the error, must say.
        field: the field named by the user.
    """

    name: str
    content: bytes
    texts: tuple[str, ...] = ()
    said: str = ""
    field: str | None = None


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(delimiter: str, *rows: tuple[str, ...]) -> bytes:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows(rows)
    return written.getvalue().encode()


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def human(text: str) -> dict[str, Any]:
    return {"from": "human", "value": text}


def batch(text: str, at: int) -> dict[str, Any]:
    body = {"model": "gpt-4o", "messages": [user(text)]}
    return {"custom_id": f"request-{at}", "method": "POST", "url": "/v1/chat", "body": body}


ANSWER = {"role": "assistant", "content": "Yes."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call-1", "content": "42"}
ONE, TWO = "who is it", "where is it"
TWO_ASKED = (f"user:{ONE}|{ASK}", f"user:{TWO}|{ASK}")
READ = (ONE, TWO)

SHAPES = {
    "ShareGPT, with an id": Shape(
        "a.jsonl",
        lines(
            {"id": "conv-1", "conversations": [human(ONE), {"from": "gpt", "value": "ok"}]},
            {"id": "conv-2", "conversations": [human(TWO), {"from": "gpt", "value": "ok"}]},
        ),
        TWO_ASKED,
        "prompts from field 'conversations' of 2",
    ),
    "ShareGPT under another name, with a system message": Shape(
        "a.json",
        json.dumps(
            [
                {"dialog": [{"from": "system", "value": "s"}, human(ONE)], "hash": "ab12"},
                {"dialog": [human(TWO)], "hash": "cd34"},
            ]
        ).encode(),
        (f"system:s|user:{ONE}|{ASK}", TWO_ASKED[1]),
        "prompts from field 'dialog' of 2",
    ),
    "messages, with a uuid": Shape(
        "a.jsonl",
        lines({"uuid": "u-1", "messages": [user(ONE)]}, {"uuid": "u-2", "messages": [user(TWO)]}),
        TWO_ASKED,
        "written by the model's chat template",
    ),
    "messages with a system message, up to the last answer": Shape(
        "a.jsonl",
        lines(
            {"messages": [SYSTEM, user(ONE), ANSWER, user("so"), ANSWER]}, {"messages": [user(TWO)]}
        ),
        (f"system:Be brief.|user:{ONE}|assistant:Yes.|user:so|{ASK}", TWO_ASKED[1]),
    ),
    "content as parts of text": Shape(
        "a.jsonl",
        lines(
            {
                "messages": [
                    user([{"type": "text", "text": "who"}, {"type": "text", "text": "is it"}])
                ]
            },
            {"messages": [user(TWO)]},
        ),
        (f"user:who\nis it|{ASK}", TWO_ASKED[1]),
    ),
    "content with an image": Shape(
        "a.jsonl",
        lines({"messages": [user([{"type": "image_url", "image_url": {"url": "x"}}])]}),
        said="message 1 of 1, 'content', part 1: is of type 'image_url'",
    ),
    "tool calls": Shape(
        "a.jsonl",
        lines(
            {"messages": [user(ONE), CALL, RESULT]}, {"messages": [user(TWO)], "tools": [{"f": 1}]}
        ),
        (f"user:{ONE}|assistant:calls f|tool:42|{ASK}", f"tools 1|{TWO_ASKED[1]}"),
    ),
    "a system text beside the messages": Shape(
        "a.jsonl",
        lines(
            {"system": "Be brief.", "messages": [user(ONE)]},
            {"system": "Be long.", "messages": [SYSTEM, user(TWO)]},
        ),
        (f"system:Be brief.|{TWO_ASKED[0]}", f"system:Be brief.|{TWO_ASKED[1]}"),
    ),
    "a chat export of trees": Shape(
        "a.json",
        json.dumps(
            [
                {
                    "title": "Rivers",
                    "current_node": "3f2a-77",
                    "mapping": {"3f2a-77": {"message": {}}},
                }
            ]
        ).encode(),
        said="'title', 'current_node' may name or describe the row: not guessed",
    ),
    "a list of messages a line": Shape("a.jsonl", lines([user(ONE)], [user(TWO)]), TWO_ASKED),
    "one message a line": Shape(
        "a.jsonl", lines(user(ONE), user(TWO)), said="the row is one message"
    ),
    "one conversation as a list": Shape(
        "a.json", json.dumps([user(ONE), ANSWER]).encode(), said="holds the messages of one conv"
    ),
    "an unknown speaker": Shape(
        "a.jsonl",
        lines({"conversations": [{"from": "narrator", "value": "x"}]}),
        said="its 'from' is 'narrator' (str): give human, gpt",
    ),
    "prompt and completion": Shape(
        "a.jsonl",
        lines({"prompt": ONE, "completion": "x"}, {"prompt": TWO, "completion": "y"}),
        READ,
        "prompts from field 'prompt' of 2",
    ),
    "a prompt of messages": Shape(
        "a.jsonl",
        lines({"prompt": [user(ONE)], "completion": [ANSWER]}, {"prompt": [user(TWO)]}),
        TWO_ASKED,
    ),
    "instruction, input and output": Shape(
        "a.jsonl",
        lines(
            {"instruction": "Sort.", "input": "b a", "output": "a b"},
            {"instruction": ONE, "input": "", "output": "x"},
        ),
        ("Sort.\n\nb a", ONE),
        "prompts from fields 'instruction' and 'input', joined by a blank line, of 3",
    ),
    "instructions of which the first has no input": Shape(
        "a.jsonl",
        lines(
            {"instruction": ONE, "output": "x"},
            {"instruction": "Sort.", "input": "b a", "output": "a b"},
        ),
        (ONE, "Sort.\n\nb a"),
        "prompts from field 'instruction', with 'input' after a blank line where a row has one, of 2",
    ),
    "instructions with a context": Shape(
        "a.jsonl",
        lines(
            {"instruction": "Sort.", "context": "b a", "response": "a b"},
            {"instruction": "Sort.", "context": "d c", "response": "c d"},
        ),
        ("Sort.\n\nb a", "Sort.\n\nd c"),
        "prompts from fields 'instruction' and 'context', joined by a blank line, of 3",
    ),
    "conversations of which the first is empty": Shape(
        "a.jsonl",
        lines(
            {"messages": [], "summary": "nothing was said"},
            {"messages": [user(ONE)], "summary": "one"},
            {"messages": [user(TWO)], "summary": "two"},
        ),
        TWO_ASKED,
        "prompts from field 'messages' of 2",
    ),
    "an OpenAI batch": Shape(
        "a.jsonl",
        lines(batch(ONE, 1), batch(TWO, 2)),
        TWO_ASKED,
        "prompts from field 'body.messages' (nested)",
    ),
    "an OpenAI batch, its field named": Shape(
        "a.jsonl", lines(batch(ONE, 1), batch(TWO, 2)), TWO_ASKED, field="body.messages"
    ),
    "one message of a conversation, named": Shape(
        "a.jsonl", lines(batch(ONE, 1), batch(TWO, 2)), READ, field="body.messages.0.content"
    ),
    "a nested text": Shape(
        "a.jsonl",
        lines({"id": 1, "data": {"text": ONE, "n": 1}}, {"id": 2, "data": {"text": TWO, "n": 2}}),
        READ,
        "prompts from field 'data.text' (nested)",
    ),
    "a nested field that is not there": Shape(
        "a.jsonl",
        lines({"data": {"text": ONE}}),
        said="there is no field 'data.body': 'data' has the fields 'text'",
        field="data.body",
    ),
    "nothing but ids": Shape(
        "a.jsonl",
        lines({"id": "a1", "conversation_id": "c1", "value": "3f2a-77"}),
        said="'id', 'conversation_id', 'value' may name or describe the row: not guessed",
    ),
    "a question beside facts": Shape(
        "a.jsonl",
        lines(
            {"_id": "x9", "sourceUrl": "https://a/b", "lang": "en", "question": ONE},
            {"_id": "x8", "sourceUrl": "https://a/c", "lang": "en", "question": TWO},
        ),
        READ,
        "prompts from field 'question' of 4",
    ),
    "preference pairs": Shape(
        "a.jsonl",
        lines({"chosen": [user(ONE), ANSWER], "rejected": [user(ONE)]}),
        said="'chosen', 'rejected' hold conversations: name one",
    ),
    "ndjson": Shape("a.ndjson", lines({"text": ONE}, {"text": TWO}), READ),
    "jsonl.gz": Shape("a.jsonl.gz", gzip.compress(lines({"text": ONE}, {"text": TWO})), READ),
    "json.gz": Shape("a.json.gz", gzip.compress(json.dumps(READ).encode()), READ),
    "csv.gz": Shape(
        "a.csv.gz", gzip.compress(b"text\n%b\n%b\n" % (ONE.encode(), TWO.encode())), READ
    ),
    "txt.gz": Shape("a.txt.gz", gzip.compress(f"{ONE}\n{TWO}\n".encode()), READ),
    "a gz that is none": Shape("a.txt.gz", b"plain text\n", said="a.txt.gz is not a readable gzip"),
    "a gz cut off": Shape(
        "a.txt.gz", gzip.compress(bytes(range(97, 122)) * 99)[:-9], said="is not a readable gzip"
    ),
    "gzip without its suffix": Shape(
        "a.jsonl", gzip.compress(b'"a"\n'), said="compressed by gzip: call it a.jsonl.gz"
    ),
    "an unknown suffix inside": Shape("a.pkl.gz", gzip.compress(b"x"), said="the suffix '.pkl.gz'"),
    "tabs in a csv": Shape(
        "a.csv",
        table("\t", ("id", "prompt"), ("1", ONE), ("2", TWO)),
        READ,
        "cells separated by tabs",
    ),
    "semicolons, and commas in the texts": Shape(
        "a.csv",
        table(";", ("id", "prompt"), ("1", f"{ONE}, it"), ("2", f"{TWO}, it")),
        (f"{ONE}, it", f"{TWO}, it"),
        "cells separated by semicolons",
    ),
    "bars": Shape("a.csv", table("|", ("n", "question"), ("1", ONE), ("2", TWO)), READ, "by bars"),
    "tsv": Shape("a.tsv", table("\t", ("id", "text"), ("1", ONE), ("2", TWO)), READ),
    "a delimiter decided by the rows": Shape(
        "a.csv",
        table(";", ("id", "text, or prompt", "text"), ("1", "x", ONE), ("2", "y, z", TWO)),
        READ,
        "cells separated by semicolons",
    ),
    "quotes, and newlines in quotes": Shape(
        "a.csv",
        table(",", ("text", "n"), ('a "b"\nc, d', "1"), ("e\r\nf", "2")),
        ('a "b"\nc, d', "e\r\nf"),
    ),
    "a pandas index": Shape("a.csv", table(",", ("", "question"), ("0", ONE), ("1", TWO)), READ),
    "csv without a header": Shape(
        "a.csv",
        b"what is a river\nwhere is the sea\n",
        said="line 1: reads like a row, not like a header",
    ),
    "csv without a header, in two columns": Shape(
        "a.csv",
        b"1,first question\n2,second question\n",
        said="reads like a row, not like a header",
    ),
    "csv without a header, in one word": Shape(
        "a.csv", b"river\nlake\nsea\n", said="is it a header? It names no column that is known"
    ),
    "a header that the user vouches for": Shape(
        "a.csv", b"river\nlake\nsea\n", ("lake", "sea"), field="river"
    ),
    "messages in a cell": Shape(
        "a.csv",
        table(",", ("id", "messages"), ("1", json.dumps([user(ONE)]))),
        said="may name or describe the row: not guessed",
    ),
    "a BOM": Shape("a.csv", b"\xef\xbb\xbftext;n\nwho is it;1\nwhere is it;2\n", READ),
    "UTF-16": Shape("a.txt", f"{ONE}\n{TWO}\n".encode("utf-16"), said="a.txt is UTF-16: save"),
    "UTF-16 without a mark": Shape("a.csv", "text\none\n".encode("utf-16-le"), said="is UTF-16"),
    "UTF-16 the other way round": Shape(
        "a.csv", "text\none\n".encode("utf-16-be"), said="is UTF-16"
    ),
    "UTF-32": Shape("a.jsonl", '"a"\n"b"\n'.encode("utf-32"), said="a.jsonl is UTF-32: save"),
    "UTF-32 without a mark": Shape("a.jsonl", '"a"\n"b"\n'.encode("utf-32-le"), said="is UTF-32"),
    "emoji joined by ZWJ": Shape(
        "a.txt", f"{FAMILY}\n{FAMILY[:-2]}\n".encode(), (FAMILY, FAMILY[:-2])
    ),
    "empty rows": Shape(
        "a.jsonl", lines({"text": ONE}, {"text": ""}, {"text": TWO}, {"text": ""}), READ
    ),
    "empty conversations": Shape(
        "a.jsonl",
        lines(
            {"messages": [user(ONE)]},
            {"messages": []},
            {"messages": [ANSWER]},
            {"messages": [user(TWO)]},
        ),
        TWO_ASKED,
    ),
    "texts and conversations": Shape(
        "a.jsonl",
        lines({"prompt": ONE}, {"prompt": [user(TWO)]}),
        said="line 2: holds a conversation, and the first row a text: give one kind",
    ),
    "one object with all prompts": Shape(
        "a.json", b'{"prompts": ["a", "b"]}', said="holds a dict: give a list"
    ),
}
