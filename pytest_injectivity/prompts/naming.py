"""Names prompts and tokens in reports: by keyed hashes, and by their text only on request."""

import hmac
from typing import TYPE_CHECKING, Any

from pytest_injectivity.core.text import number_of, one_line

if TYPE_CHECKING:
    from pytest_injectivity.prompts.promptset import PromptSet


def prompt_name(prompts: "PromptSet", prompt: int, key: bytes, *, shown: bool) -> str:
    """Names a prompt by its index, keyed hash and length.

    Args:
        prompts: its set.
        prompt: its index there.
        key: of the hash.
        shown: add its text, or its ids where it has none.
    """
    ids = prompts.ids[prompt]
    name = (
        f"prompt {prompt} ({_digest(key, prompts.hashes[prompt])}, {number_of(len(ids), 'token')})"
    )
    if not shown:
        return name
    text = str(list(ids)) if prompts.texts is None else prompts.texts[prompt]
    return f"{name} {one_line(text)}"


def token_name(token: int, key: bytes, *, shown: bool = False, tokenizer: Any = None) -> str:
    """Names a token by its keyed hash.

    Args:
        token: its id.
        key: of the hash.
        shown: add its id, and its text where there is a tokenizer.
        tokenizer: the model's, or None.
    """
    from pytest_injectivity.prompts.promptset import prompt_hash

    digest = _digest(key, prompt_hash([token]))
    if not shown:
        return f"token ({digest})"
    text = "" if tokenizer is None else f" {one_line(repr(tokenizer.decode([token])))}"
    return f"token {token} ({digest}){text}"


def _digest(key: bytes, name: str) -> str:
    return hmac.digest(key, name.encode(), "sha256").hex()[:10]
