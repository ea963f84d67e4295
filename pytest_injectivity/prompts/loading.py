"""Loads a prompt set: reads a source, tokenizes it, adds special tokens, cuts it and removes copies.

With ``length=T`` every text is cut into consecutive windows of exactly ``T`` tokens (SPEC section
1). The special tokens that the tokenizer puts around a text are put around every window and count
as part of it, so a window begins with BOS exactly if a whole prompt would. Tokens left over at the
end of a text are in no window; they are counted.

A prompt is empty when it has no token beside the special ones: a blank line is no prompt, although a
tokenizer may turn it into BOS.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.builtin import parse_builtin, random_rows, stdlib_rows
from pytest_injectivity.prompts.challenge import CHALLENGE_PROMPTS, challenge_set
from pytest_injectivity.prompts.files import read_rows
from pytest_injectivity.prompts.framing import (
    PROBED,
    Frame,
    Tokenizer,
    encode,
    ids_frame,
    text_frame,
)
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.prompts.rows import FieldRule, Row
from pytest_injectivity.prompts.sampling import Sieve
from pytest_injectivity.prompts.settings import Overlong, Settings, SpecialTokens

_BATCH = 1024  # texts tokenized at once


def load_prompts(
    source: str | Path,
    tokenizer: Tokenizer | None,
    *,
    field: str | None = None,
    length: int | None = None,
    overlong: Overlong = "refuse",
    special_tokens: SpecialTokens = "auto",
    max_prompts: int | None = None,
    seed: int = 0,
    context: int | None = None,
    vocab_size: int | None = None,
) -> PromptSet:
    """Loads the distinct prompts of a file, a folder or a built-in set.

    Args:
        source: a path (see `files`) or ``builtin:...`` (see `builtin`).
        tokenizer: the model's; None for sources of token ids.
        field: the field of an object or a table that holds the prompt; None finds it.
        length: cut texts into windows of exactly so many tokens.
        overlong: whether prompts longer than the context are refused or dropped and counted.
        special_tokens: "auto" adds what the tokenizer adds by itself (to rows of ids: nothing),
            "yes" puts BOS first where it is not, "no" adds none.
        max_prompts: take a sample of at most so many, which does not depend on their order (see
            `sampling`). Of ``builtin:random`` so many are drawn; a challenge set is made until it has
            so many.
        seed: of the sample and of what built-in sets draw.
        context: the longest prompt the model accepts, in tokens; None for no limit.
        vocab_size: the rows of the model's input embedding; None leaves ids unchecked.

    Raises:
        PromptError: the source cannot be read, has a prompt that this model cannot take, or has
            fewer than 2 distinct prompts.
        OptionError: an argument has a value that is not accepted.
        MissingExtra: reading the file needs a library that is not installed.

    >>> import json, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "prompts.jsonl"
    >>> rows = [{"ids": [1, 2, 3]}, {"ids": [1, 2, 4]}, {"ids": [1, 2, 3]}]
    >>> _ = path.write_text(chr(10).join(map(json.dumps, rows)))
    >>> prompts = load_prompts(path, tokenizer=None)
    >>> len(prompts), prompts.dropped_duplicates
    (2, 1)
    """
    settings = Settings(
        field=field,
        length=length,
        overlong=overlong,
        special_tokens=special_tokens,
        max_prompts=max_prompts,
        seed=seed,
        context=context,
        vocab_size=vocab_size,
    )
    return _load(str(source), tokenizer, settings)


def _load(source: str, tokenizer: Tokenizer | None, settings: Settings) -> PromptSet:
    builtin = parse_builtin(source)
    if builtin is None:
        rule = FieldRule(settings.field, prefer_ids=tokenizer is None)
        with closing(read_rows(Path(source), rule)) as rows:
            return _sifted(Path(source).name or source, rows, tokenizer, settings)
    if builtin.name == "challenge":
        # Bases are sampled in the order in which families are made, so no more are ever needed.
        settings = replace(settings, max_prompts=settings.max_prompts or CHALLENGE_PROMPTS)
        base = _load(builtin.argument or "builtin:stdlib", tokenizer, settings)
        return challenge_set(base, tokenizer, settings)
    if settings.field is not None:
        raise OptionError(f"field {settings.field!r} was named, and {source} has no fields")
    if builtin.name == "random":
        return _sifted(source, random_rows(tokenizer, settings), tokenizer, settings)
    return _sifted(source, stdlib_rows(tokenizer), tokenizer, settings)


def _sifted(
    name: str, rows: Iterator[Row], tokenizer: Tokenizer | None, settings: Settings
) -> PromptSet:
    batches = iter(lambda: list(islice(rows, _BATCH)), [])
    first = next(batches, None)
    if first is None:
        raise PromptError(f"{name} has no prompts: give at least 2 distinct ones")
    is_text = isinstance(first[0].content, str)
    frame = _frame(name, first, tokenizer, settings)
    sieve = Sieve(settings)
    for batch in chain([first], batches):
        bodies = _bodies(batch, tokenizer, frame, is_text=is_text)
        for row, body in zip(batch, bodies, strict=True):
            _offer(sieve, row, body, frame)
    prompts = sieve.prompt_set(name, special_tokens=len(frame) > 0)
    if is_text and tokenizer is not None and settings.length is not None:
        texts = tuple(tokenizer.decode(list(frame.inside(ids))) for ids in prompts.ids)
        return replace(prompts, texts=texts)
    return prompts


def _frame(name: str, batch: list[Row], tokenizer: Tokenizer | None, settings: Settings) -> Frame:
    texts = [row.content for row in batch[:PROBED] if isinstance(row.content, str)]
    if not texts:
        frame = ids_frame(tokenizer, settings.special_tokens)
    elif tokenizer is None:
        raise PromptError(
            f'{name} holds texts and this model has no tokenizer: give {{"ids": [...]}} rows, or'
            " builtin:random"
        )
    else:
        frame = text_frame(tokenizer, settings.special_tokens, texts)
    if settings.length is not None and settings.length <= len(frame):
        raise OptionError(
            f"length {settings.length} leaves no room beside {len(frame)} special token(s): give at"
            f" least {len(frame) + 1}, or --injx-special-tokens=no"
        )
    return frame


def _bodies(
    batch: list[Row], tokenizer: Tokenizer | None, frame: Frame, *, is_text: bool
) -> list[tuple[int, ...]]:
    """The tokens of each row without special tokens (those a row of ids begins with apart)."""
    texts = [row.content for row in batch if isinstance(row.content, str)]
    ids = [row.content for row in batch if not isinstance(row.content, str)]
    if ids if is_text else texts:
        other = next(row for row in batch if isinstance(row.content, str) is not is_text)
        held, expected = ("token ids", "a text") if is_text else ("a text", "token ids")
        raise PromptError(
            f"{other.place}: holds {held}, and the first row {expected}: give one kind"
        )
    if is_text and tokenizer is not None:
        return encode(tokenizer, texts, framed=False)
    return [frame.inside(row) for row in ids]


def _offer(sieve: Sieve, row: Row, body: tuple[int, ...], frame: Frame) -> None:
    place = f"prompt {sieve.rows} ({row.place})"
    sieve.rows += 1
    if not body:
        sieve.empty += 1
    elif (length := sieve.settings.length) is None:
        text = row.content if isinstance(row.content, str) else None
        sieve.offer(frame.around(body), text, place)
    else:
        step = length - len(frame)
        for start in range(0, len(body) - step + 1, step):
            sieve.offer(frame.around(body[start : start + step]), None, place)
        sieve.leftover_tokens += len(body) % step
