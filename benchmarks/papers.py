"""Tables of [N] (arXiv 2510.15511, version 4) in kind: what they measure, of models that are here.

    ./dev bench papers weights MODELS...       # table 2: smallest distance by bits and library
    ./dev bench papers sipit MODELS... --kinds bnb-fp4,torchao-int4     # table 4: models in 4 bits
    ./dev bench papers sipit MODELS... --tokens 100                     # table 7: longer prompts
    ./dev bench papers probes MODELS...        # app. E.3: prompts with one next token
    ./dev bench papers correlations MODELS...  # app. E.5: what goes along with margins

Each subcommand prints a table of docs/papers.md; ``--help`` names what it takes.
"""

import argparse

import torch
from papers_correlations import add_correlations
from papers_probes import add_probes
from papers_sipit import add_sipit
from papers_weights import add_weights


def main() -> None:
    """Run a subcommand."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parts = parser.add_subparsers(required=True)
    add_weights(parts)
    add_sipit(parts)
    add_probes(parts)
    add_correlations(parts)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.run(given)


if __name__ == "__main__":
    main()
