"""Attacks that compare likely candidates, against those that compare the whole vocabulary.

    ./dev bench pruning MODEL_FOLDERS... [--prompts 20 --tokens 10 --cut 3 --budgets 20000 6000]

For each release: what the nearest candidate by the noise's metric reads, the upper bound of its rate,
how many true tokens were not among the candidates, and the processor's seconds.
"""

import time
from collections.abc import Iterator, Sequence

from side_by_side import attacked, attacked_title, table

from pytest_injectivity import Audit, AuditConfig

RELEASES = (
    "cast(bf16)",
    "gaussian(sigma=1 rel)",
    "gaussian(sigma=2 rel)",
    "gaussian(sigma=8 rel)",
    "lowrank(rank=4, sigma=8 rel)",
    "round(bits=3)",
    "topk(share=0.02)",
)
_ATTACKER = "mahalanobis"


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__, prompts=20, tokens=10)
    parser.add_argument("--cut", type=int, default=3)
    parser.add_argument("--budgets", type=int, nargs="*", default=[20_000, 6_000])
    given = parser.parse_args()
    budgets = (None, *given.budgets)
    for model in given.models:
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=1000))
        of = f"{attacked_title(model, given)}, cut {given.cut}"
        columns = ("release", "budget", "compared", "left out", "undecided", "read", "at most", "s")
        table(of, columns, _rows(audit, given.cut, given.prompts, given.tokens, budgets))


def _rows(
    audit: Audit, cut: int, prompts: int, tokens: int, budgets: Sequence[int | None]
) -> Iterator[tuple[str, ...]]:
    for release in RELEASES:
        for budget in budgets:
            started = time.process_time()
            (found,) = audit.exposures(
                f"{release}@{cut}", prompts=prompts, tokens=tokens, free_running=0, budget=budget
            )
            taken = time.process_time() - started
            (one,) = (
                attack
                for attack in found.summary(0.95).attacks
                if attack.attacker == _ATTACKER and attack.teacher_forced
            )
            yield (
                release,
                "all" if budget is None else f"{budget:,}",
                "all" if one.compared is None else f"{one.compared:.0f}",
                str(one.left_out),
                str(one.tokens.undecided),
                f"{100 * one.tokens.value:.1f} %",
                f"{100 * one.tokens.high:.1f} %",
                f"{taken:.0f}",
            )


if __name__ == "__main__":
    main()
