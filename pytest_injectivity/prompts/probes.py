"""Makes prompts after which a model says the same token, whatever stands before: probes.

[N] version 4 (appendix E.3) looks at prompts that end in the same tokens, a separator or a fixed suffix:
their next tokens are alike, so that states are near each other wherever a state holds little else.
Here each text is continued by each of these endings, token by token:

==============  ===================================================================
``blank-line``  an empty line
``rule``        a line of dashes between empty lines
``return``      the beginning of a statement
``answer``      a question, and its answer up to the last word
``count``       the numbers from one to nine
``cycle``       three words three times over, the last one left out
==============  ===================================================================

An ending is encoded by itself and put behind the text's own tokens, so that all prompts of a kind end in
the same tokens. Whether a model does say the same token there, no prompt set knows.
"""

from collections.abc import Iterator

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.framing import PROBED, Tokenizer, encode, text_frame
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.prompts.sampling import check_ids
from pytest_injectivity.prompts.settings import Settings
from pytest_injectivity.prompts.variants import Variant, gathered

PROBES = "probes"
ENDINGS = {
    "blank-line": "\n\n",
    "rule": "\n\n---\n\n",
    "return": "\n    return",
    "answer": "\n\nQuestion: What is the capital of France?\nAnswer: The capital of France is",
    "count": "\n1 2 3 4 5 6 7 8 9",
    "cycle": "\nred green blue red green blue red green",
}


def probe_set(base: PromptSet, tokenizer: Tokenizer | None, settings: Settings) -> PromptSet:
    """Makes a set of texts with each of the endings.

    Texts come in the order of their salted hashes, each with every ending, until there are
    ``max_prompts`` (1,000 by default). Where a length is asked for, the end of a text makes room for the
    ending; else a prompt that exceeds the context is not made.

    Args:
        base: the texts, loaded with the same settings.
        tokenizer: the model's, which endings are encoded by.
        settings: length, special tokens, number of prompts, seed, context and vocabulary.

    Returns:
        A set whose ``kinds`` are the names of the endings, and whose ``bases`` are the texts.

    Raises:
        PromptError: there is no tokenizer, a token id exceeds the embedding, or no probe can be made.
    """
    if tokenizer is None:
        raise PromptError(f"{base.name}: endings of probes are texts, and there is no tokenizer")
    frame = text_frame(tokenizer, settings.special_tokens, (base.texts or ())[:PROBED])
    bodies = encode(tokenizer, list(ENDINGS.values()), framed=False)
    # A tokenizer that drops the characters of an ending has no such kind.
    endings = {name: body for name, body in zip(ENDINGS, bodies, strict=True) if body}

    def family(index: int) -> Iterator[Variant]:
        own = frame.inside(base.ids[index])
        for kind, ending in endings.items():
            room = len(own)
            if settings.length is not None:
                room = max(0, settings.length - len(frame) - len(ending))
            ids = frame.around((*own[:room], *ending))
            if room and (settings.context is None or len(ids) <= settings.context):
                check_ids(ids, settings.vocab_size, f"{base.name}, {kind} after prompt {index}")
                text = tokenizer.decode([*own[:room], *ending])
                yield Variant(kind, base.hashes[index], ids, text)

    return gathered(base, settings, family, name=PROBES, what="probe")
