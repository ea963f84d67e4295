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

from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.builtin import parse_builtin, random_rows, stdlib_rows
from pytest_injectivity.prompts.challenge import challenge_set
from pytest_injectivity.prompts.fields import FieldRule
from pytest_injectivity.prompts.files.reading import read_rows
from pytest_injectivity.prompts.framing import Frame, Tokenizer
from pytest_injectivity.prompts.losses import SeenPrompts
from pytest_injectivity.prompts.probes import probe_set
from pytest_injectivity.prompts.promptset import PromptSet, prompt_hash
from pytest_injectivity.prompts.rows import Row
from pytest_injectivity.prompts.sampling import Sieve
from pytest_injectivity.prompts.settings import Conversations, Overlong, Settings, SpecialTokens
from pytest_injectivity.prompts.tokenizing import RowTokenizer, Tokenized
from pytest_injectivity.prompts.variants import CHALLENGE_PROMPTS

_BATCH = 1024  # texts tokenized at once


def load_prompts(
    source: str | Path,
    tokenizer: Tokenizer | None,
    *,
    field: str | None = None,
    length: int | None = None,
    overlong: Overlong = "refuse",
    special_tokens: SpecialTokens = "auto",
    conversations: Conversations = "prompt",
    max_prompts: int | None = None,
    seed: int = 0,
    context: int | None = None,
    vocab_size: int | None = None,
) -> PromptSet:
    """Loads the distinct prompts of a file, a folder or a built-in set.

    Args:
        source: a path (see `files`) or ``builtin:...`` (see `builtin`).
        tokenizer: the model's; None for sources of token ids.
        field: the field of an object or a table that holds the prompt, with dots into nested objects;
            None finds it (see `fields`).
        length: cut texts into windows of exactly so many tokens.
        overlong: whether prompts longer than the context are refused or dropped and counted.
        special_tokens: "auto" adds what the tokenizer adds by itself (to rows of ids: nothing),
            "yes" puts BOS first where it is not, "no" adds none. A chat template writes its own, to
            which "auto" adds nothing.
        conversations: what is written of a conversation by the chat template: "prompt", all before the
            model's last answer and the generation prompt, or "whole" (see `chat_template`).
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
        conversations=conversations,
        max_prompts=max_prompts,
        seed=seed,
        context=context,
        vocab_size=vocab_size,
    )
    return load_with(str(source), tokenizer, settings)


def check_source(source: str, tokenizer: Tokenizer | None, settings: Settings) -> None:
    """Refuses a file by its first prompt, before anybody loads weights to read the others.

    Args:
        source: as for `load_prompts`.
        tokenizer: the model's; None where it has none.
        settings: how it is to be loaded.

    Raises:
        PromptError: as for `load_prompts`.
        OptionError: as for `load_prompts`.
        MissingExtra: as for `load_prompts`.
    """
    builtin = parse_builtin(source)
    if builtin is not None:
        if builtin.argument is not None:
            check_source(builtin.argument, tokenizer, settings)
        return
    rule = FieldRule(settings.field, prefer_ids=tokenizer is None)
    with closing(read_rows(Path(source), rule)) as rows:
        first = list(islice(rows, 1))
    if first:
        RowTokenizer(Path(source).name, first, tokenizer, settings, lambda _said: None).rows(first)


def load_with(source: str, tokenizer: Tokenizer | None, settings: Settings) -> PromptSet:
    """Loads prompts as `load_prompts` does, with the settings in one."""
    builtin = parse_builtin(source)
    if builtin is None:
        rule = FieldRule(settings.field, prefer_ids=tokenizer is None)
        notes: list[str] = []
        with closing(read_rows(Path(source), rule, notes.append)) as rows:
            return _sifted(Path(source).name or source, rows, tokenizer, settings, notes)
    if builtin.name in {"challenge", "probes"}:
        # Bases are sampled in the order in which families are made, so no more are ever needed.
        settings = replace(settings, max_prompts=settings.max_prompts or CHALLENGE_PROMPTS)
        base = load_with(builtin.argument or "builtin:stdlib", tokenizer, settings)
        make = probe_set if builtin.name == "probes" else challenge_set
        return make(base, tokenizer, settings)
    if settings.field is not None:
        raise OptionError(f"field {settings.field!r} was named, and {source} has no fields")
    if builtin.name == "random":
        return _sifted(source, random_rows(tokenizer, settings), tokenizer, settings, [])
    return _sifted(source, stdlib_rows(tokenizer), tokenizer, settings, [])


def _sifted(
    name: str,
    rows: Iterator[Row],
    tokenizer: Tokenizer | None,
    settings: Settings,
    notes: list[str],
) -> PromptSet:
    batches = iter(lambda: list(islice(rows, _BATCH)), [])
    first = next(batches, None)
    if first is None:
        raise PromptError(f"{name} has no prompts: give at least 2 distinct ones")
    ids_of = RowTokenizer(name, first, tokenizer, settings, notes.append)
    sieve = Sieve(settings)
    texts = SeenPrompts()
    for batch in chain([first], batches):
        for row in ids_of.rows(batch):
            _offer(sieve, row, ids_of.frame, texts)
    if settings.length is not None:
        sieve.seen.indistinguishable, sieve.seen.pair = texts.indistinguishable, texts.pair
    if ids_of.doubled:
        notes.append(_doubled(ids_of.doubled))
    prompts = sieve.prompt_set(
        name,
        special_tokens=len(ids_of.frame) > 0,
        notes=tuple(dict.fromkeys(notes)),
        restoring=ids_of.restoring,
    )
    prompts = replace(prompts, templated=ids_of.templated)
    if ids_of.restoring.looked_at and tokenizer is not None and settings.length is not None:
        cut = tuple(tokenizer.decode(list(ids_of.frame.inside(ids))) for ids in prompts.ids)
        return replace(prompts, texts=cut)
    return prompts


def _doubled(count: int) -> str:
    begins = verb(count, "begins", "begin")
    return (
        f"{number_of(count, 'prompt')} {begins} with BOS twice, once of the text and once added: give"
        " --injx-special-tokens=no where texts have their own"
    )


def _offer(sieve: Sieve, row: Tokenized, frame: Frame, texts: SeenPrompts) -> None:
    sieve.rows += 1
    if not row.body:
        sieve.empty += 1
    elif (length := sieve.settings.length) is None:
        sieve.offer(frame.around(row.body), row.text, row.place, whole=row.whole)
    else:
        texts.add(bytes.fromhex(prompt_hash(row.body)), row.text, row.place)
        step = length - len(frame)
        for start in range(0, len(row.body) - step + 1, step):
            sieve.offer(frame.around(row.body[start : start + step]), None, row.place)
        sieve.leftover_tokens += len(row.body) % step
