"""Tells fields that name, sort or describe a row from fields that may hold its prompt.

A gate that runs on ``conv-1``, ``conv-2``, ... is green and says nothing of the model. So a guess takes
no field whose name is that of an identifier or of a fact on the row, nor one whose value looks like an
identifier.
"""

import re

# The last word of names of identifiers: conversation_id, promptHash, image-url.
_ENDINGS = frozenset(
    re.findall(
        r"\w+",
        """
        id ids uid uuid guid hash md md5 sha sha1 sha256 sha512 digest checksum index idx key url uri
        link href path file filename timestamp date time
        """,
    )
)
# Names of facts on a row, when they are all of a name or all words of it are among these.
_FACTS = frozenset(
    re.findall(
        r"\w+",
        """
        n no nr num number row line count rank position order source src origin domain dataset subset
        split model engine tokenizer lang language locale category categories label labels class kind
        type format created updated modified author user username owner license status state method
        version tag tags topic topics score rating role from to name custom unnamed title subject
        headline answer answers output outputs completion completions response responses chosen
        rejected target targets reference expected gold ground truth solution explanation rationale
        """,
    )
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_UUID = re.compile(r"[{(]?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}[)}]?", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9_.:/+=#@-]*[0-9][A-Za-z0-9_.:/+=#@-]*")
_HEX = re.compile(r"[0-9a-f]{16,}", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def is_id_name(name: str) -> bool:
    """Whether a field of this name identifies or describes a row.

    >>> [is_id_name(name) for name in ("id", "conversationId", "source", "Unnamed: 0", "question")]
    [True, True, True, True, False]
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:  # a table that was saved with its row numbers has a column without a name
        return not any(character.isalpha() for character in name)
    facts = (word in _FACTS or word in _ENDINGS or word.isdigit() for word in words)
    # Words in other scripts are no names that are known here.
    return name.isascii() and (words[-1] in _ENDINGS or all(facts))


def is_id_value(value: str) -> bool:
    """Whether a text looks like an identifier: one word with a digit in it, a UUID, a hash, an address.

    >>> [is_id_value(value) for value in ("conv-1", "17", "https://a.b/c", "river", "what is 2?")]
    [True, True, True, False, False]
    """
    word = value.strip()
    return any(kind.fullmatch(word) for kind in (_UUID, _CODE, _HEX, _ADDRESS))
