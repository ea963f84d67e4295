"""What attackers read that learned from examples: tables of docs/privacy.md.

    ./dev bench privacy_inverters MODEL_FOLDERS... [--prompts 50 --tokens 6 --cut 3 --practice 500]

The first table has a planted release: noise in four loud directions misleads the nearest neighbors, and
trained inverters read it. The second has releases that are not linear, and plain noise. The third has
what is read by how many examples were learned from, the fourth whole prompts of one row.
"""

import time
from collections.abc import Sequence

from side_by_side import CONSOLE, attacked, attacked_title, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.releases import AttackSummary, ReleaseSummary

PLANTED = ("lowrank(rank=4, sigma=8 rel)",)
OTHERS = ("topk(share=0.02)", "round(bits=2)", "gaussian(sigma=1 rel)")
NEAREST = ("embedding", "argmin")
TRAINED = ("linear inverter", "network inverter")
ONE_ROW = ("last", "mean", "answer")
LAST_STATE = "last-state inverter"
PAIRS = "pairs inverter"
EXAMPLES = (0, 16, 64, 256, 1024)
LONGER = 20


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__)
    parser.add_argument("--cut", type=int, default=3)
    parser.add_argument("--practice", type=int, default=500)
    given = parser.parse_args()
    size = {"prompts": given.prompts, "tokens": given.tokens, "practice": given.practice}
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=2000))
        of = f"{attacked_title(model, given)}, cut {given.cut}: read, %"
        for releases, names in ((PLANTED, (*NEAREST, *TRAINED)), (OTHERS, TRAINED)):
            texts = [f"{one}@{given.cut}" for one in releases]
            found = audit.exposures(texts, free_running=0, **size)
            table(of, ("release", *names), [_row(one.summary(0.95), names) for one in found])
        more = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=20_000))
        columns = "place, attacker", *map(str, EXAMPLES)
        table(f"{of}, by examples", columns, _by_examples(more, given.cut, **size))
        columns = "place, tokens", "read", "on its own", "whole prompts", "ROUGE-L"
        table(f"{model.name}: {LAST_STATE}, %", columns, _whole(more, given.cut, **size))
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _row(found: ReleaseSummary, names: Sequence[str]) -> tuple[str, ...]:
    return (found.release, *(_read(found, name) for name in names))


def _by_examples(audit: Audit, cut: int, **size: int) -> list[tuple[str, ...]]:
    """What is read of the planted release by how many examples of the attacker's, or of the sender's."""
    texts = [f"{PLANTED[0]}@{cut}{which}" for which in ("", *(f" {one}" for one in ONE_ROW))]
    cells: dict[tuple[str, str], list[str]] = {}
    for count in EXAMPLES:
        for kind, names in (("practice", (*TRAINED, LAST_STATE)), ("known", (PAIRS,))):
            learned = {**size, "practice": 0, kind: count}
            for found in audit.exposures(texts, free_running=0, **learned):
                summary = found.summary(0.95)
                for name in names:
                    cells.setdefault((summary.place, name), []).append(_read(summary, name))
    return [(", ".join(key), *row) for key, row in sorted(cells.items()) if any(row)]


def _whole(audit: Audit, cut: int, **size: int) -> list[tuple[str, ...]]:
    """What is read of prompts that are sent as one row, as it is."""
    rows = []
    for tokens in (size["tokens"], LONGER):
        texts = [f"identity@{cut} {which}" for which in ONE_ROW]
        sized = {**size, "tokens": tokens, "free_running": size["prompts"]}
        for found in audit.exposures(texts, **sized):
            summary = found.summary(0.95)
            ways = {
                one.teacher_forced: one for one in summary.attacks if one.attacker == LAST_STATE
            }
            rows.append((f"{summary.place}, {tokens}", *_shown(ways[True], ways[False])))
    return rows


def _shown(forced: AttackSummary, free: AttackSummary) -> tuple[str, ...]:
    shares = forced.tokens.value, free.tokens.value, free.whole.value
    near = None if free.texts is None else free.texts.rouge_l
    return tuple("" if one is None else f"{100 * one:.0f}" for one in (*shares, near))


def _read(found: ReleaseSummary, name: str) -> str:
    """The share of tokens that an attacker reads; empty where it is not run."""
    rates = {one.attacker: one.tokens.value for one in found.attacks if one.teacher_forced}
    return f"{100 * rates[name]:.0f}" if name in rates else ""


if __name__ == "__main__":
    main()
