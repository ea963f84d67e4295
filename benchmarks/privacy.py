"""What is read and what use is left of a split inference: the tables and pictures of docs/privacy.md.

    ./dev bench privacy MODEL_FOLDERS... [--prompts 50 --tokens 6 --pictures docs] [--only learned]

The states after four cuts of each model, released six ways at four strengths, and attacked by every
attacker that is told the tokens before the one it looks for (teacher-forced). What is read is what the
strongest reads; what is kept is the agreement of next tokens when the pass goes on from the release.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from side_by_side import CONSOLE, attacked, attacked_title, four_cuts, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.config.release_spec import filled
from pytest_injectivity.reports.curves import write_picture
from pytest_injectivity.results.releases import PrivacyCurve, ReleaseSummary

SWEPT: dict[str, tuple[float, ...]] = {
    "gaussian(sigma=? rel)": (0.25, 1, 2, 8),
    "lowrank(rank=4, sigma=? rel)": (0.5, 1, 2, 8),
    "round(bits=?)": (2, 3, 4, 8),
    "topk(share=?)": (0.02, 0.05, 0.1, 0.5),
    "directed(sigma=? rel)": (0.25, 1, 2, 8),
    "learned(sigma=? rel)": (0.25, 1, 2, 8),
}
STEPS = ("gaussian", "lowrank", "round", "topk")
"""Those that are swept where none is named."""

MAX_TOKEN_RATE, MIN_AGREEMENT = 0.5, 0.9

Strengths = Mapping[str, Sequence[float]]
Curves = Mapping[tuple[str, int], PrivacyCurve]


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder for privacy-MODEL.svg")
    parser.add_argument("--only", nargs="+", help="names of steps; a picture is named after them")
    given = parser.parse_args()
    chosen = {
        release: strengths
        for release, strengths in SWEPT.items()
        if release.partition("(")[0] in (given.only or STEPS)
    }
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=4 * given.prompts))
        cuts = four_cuts(audit.n_layers)
        curves = swept(audit, chosen, cuts, given.prompts, given.tokens)
        points = sum(len(curve.points) for curve in curves.values())
        taken = time.perf_counter() - started
        of = attacked_title(model, given)
        table(
            f"{of}: read / kept, %", ("release", *map(str, cuts)), by_strength(curves, chosen, cuts)
        )
        middle = cuts[len(cuts) // 2]
        table(f"{of}: read at {middle}, %", *by_attacker(curves, chosen, middle))
        CONSOLE.print(
            f"{points} points in {taken:.0f} s, {taken / points:.2f} s each, loading included"
        )
        CONSOLE.print(*(curve.line for curve in curves.values() if curve.both), sep="\n")
        if given.pictures:
            named = "-".join(["privacy", model.name, *(given.only or [])])
            write_picture(given.pictures / f"{named}.svg", list(curves.values()))


def swept(
    audit: Audit, chosen: Strengths, cuts: Sequence[int], prompts: int, tokens: int
) -> Curves:
    """Every release at every cut, in one walk over the prompts."""
    asked = list(product(chosen, cuts))
    size = {"prompts": prompts, "tokens": tokens, "free_running": 0}
    texts = [
        filled(f"{release}@{cut}", str(one)) for release, cut in asked for one in chosen[release]
    ]
    audit.exposures(texts, **size)  # so that each curve finds its points
    wanted = {"max_token_rate": MAX_TOKEN_RATE, "min_agreement": MIN_AGREEMENT}
    return {
        (release, cut): audit.sweep(f"{release}@{cut}", chosen[release], **wanted, **size)
        for release, cut in asked
    }


def by_strength(
    curves: Curves, chosen: Strengths, cuts: Sequence[int]
) -> Iterator[tuple[str, ...]]:
    """A row a release and strength, a column a cut."""
    for release, strengths in chosen.items():
        for at, strength in enumerate(strengths):
            found = [curves[release, cut].points[at].release for cut in cuts]
            yield (filled(release, str(strength)), *map(_read_and_kept, found))


def by_attacker(
    curves: Curves, chosen: Strengths, cut: int
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row a release and strength, a column an attacker."""
    releases = [point.release for release in chosen for point in curves[release, cut].points]
    names = list(dict.fromkeys(one.attacker for found in releases for one in found.attacks))
    rows = []
    for found in releases:
        read = {one.attacker: f"{100 * one.tokens.value:.0f}" for one in found.attacks}
        rows.append((found.release, *(read.get(name, "") for name in names)))
    return ("release", *names), rows


def _read_and_kept(found: ReleaseSummary) -> str:
    kept = found.agreement
    return f"{100 * found.strongest.tokens.value:.0f} / {100 * kept.value:.0f}" if kept else ""


if __name__ == "__main__":
    main()
