"""Prints docs/families.md: what becomes of every causal language model of the installed transformers.

python scripts/families/families.py > docs/families.md
python scripts/families/families.py mixtral rwkv
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a file, it finds its own folder alone

from scripts.families.small_models import KINDS, SEEING
from scripts.families.walk import TOLERANCE, Row, walked

HOW = {"keys-values": "from its cached keys and values", "recompute": "by running it again"}


def page(rows: Sequence[Row], seeing: Sequence[Row]) -> Iterator[str]:
    """The lines of the page."""
    total = sum(row.setting == "" for row in rows)
    yield "# Families of decoders"
    yield ""
    yield (
        f"Every one of the {total} model types that transformers {version('transformers')} lists as"
        " causal language models, built small with random weights by `scripts/families/families.py`,"
        " which prints this page. Rows that are run alone are compared, in true float64 and at every"
        " layer and position, with the same rows in a batch, padded, behind prefixes of 1 to 17 tokens,"
        " continued many prefixes at once, and as candidates of one prefix; sliding windows are 8 tokens"
        f" and rows up to 27. The agreement is the largest relative difference of a state; {TOLERANCE:g}"
        " is accepted. No operation of such a pass gives a number narrower than float64."
    )
    yield ""
    yield from _accepted("Accepted", rows)
    yield from _others("Refused by name", "refused", rows)
    yield from _others("Not tried", "not tried", rows)
    yield from _others("Wrong", "wrong", rows)
    if seeing:
        yield ("## Models that also see or hear")
        yield ""
        yield (
            "They are loaded as the text decoder inside them. Their towers, which token ids never reach,"
            " are taken off and named in the line of assumptions."
        )
        yield ""
        yield from _accepted("Accepted as text decoders", seeing, "###")
        yield from _others("Refused", "refused", seeing, "###")
        yield from _others("Not tried, as no small one could be built", "not tried", seeing, "###")
        yield from _others("Wrong there", "wrong", seeing, "###")


def _accepted(title: str, rows: Sequence[Row], level: str = "##") -> Iterator[str]:
    chosen = [row for row in rows if row.outcome == "accepted"]
    if chosen:
        yield f"{level} {title}: {len(chosen)}"
        yield ""
        yield "| model type | a prefix is continued | side by side | agreement | float32 to float64 |"
        yield "| --- | --- | --- | --- | --- |"
        for row in chosen:
            listed = "" if row.listed else " *"
            yield (
                f"| {_name(row)}{listed} | {HOW[row.prefix]} | {'yes' if row.masks else 'no'}"
                f" | {row.difference:.0e} | {row.float32:.0e} |"
            )
        yield ""
        yield "\\* found by the rule and verified when it is loaded; the others have a row in the table."
        yield ""


def _others(title: str, outcome: str, rows: Sequence[Row], level: str = "##") -> Iterator[str]:
    chosen = [row for row in rows if row.outcome == outcome]
    if chosen:
        yield f"{level} {title}: {len(chosen)}"
        yield ""
        yield "| model type | reason |"
        yield "| --- | --- |"
        for row in chosen:
            yield f"| {_name(row)} | {row.reason.replace('|', '/')} |"
        yield ""


def _name(row: Row) -> str:
    return f"`{row.kind}`" + (f" ({row.setting})" if row.setting else "")


def _told(kinds: Sequence[str]) -> list[Row]:
    rows = []
    for row in walked(kinds):
        rows.append(row)
        print(f"{row.outcome}: {_name(row)} {row.reason}", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    named = sys.argv[1:]
    print("\n".join(page(_told(named or KINDS), [] if named else _told(SEEING))).rstrip())
