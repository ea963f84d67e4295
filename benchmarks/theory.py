"""What the theory says of models, measured.

    ./dev bench theory repetition [MODELS...]
    ./dev bench theory discriminant MODELS...
    ./dev bench theory contraction MODEL --layers LAYERS...
    ./dev bench theory work MODELS...
    ./dev bench theory symmetry MODELS...
    ./dev bench theory trajectory
    ./dev bench theory common FOLDER

Each subcommand prints the tables of docs/theory.md; ``--help`` names what it takes.
"""

import argparse

from theory_common import add_common
from theory_contraction import add_contraction
from theory_discriminant import add_discriminant
from theory_repetition import add_repetition
from theory_symmetry import add_symmetry
from theory_trajectory import add_trajectory
from theory_work import add_work


def main() -> None:
    """Run a subcommand."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(required=True)
    add_repetition(parts)
    add_discriminant(parts)
    add_contraction(parts)
    add_work(parts)
    add_symmetry(parts)
    add_trajectory(parts)
    add_common(parts)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
