"""A contract for import-linter: the modules of a room that are alternatives know nothing of each other.

``independence`` takes a list of modules, which each new attacker, check or report kind would have to be
added to, and its wildcard takes the room's shared modules as well. This contract takes the room and
names what is shared; every other module of the room is independent of every other.
"""

from grimp import ImportGraph
from importlinter.contracts.independence import IndependenceContract
from importlinter.domain import fields
from importlinter.domain.contract import ContractCheck
from importlinter.domain.imports import ModuleExpression


class IndependentSiblings(IndependenceContract):
    """No module of a package imports another one, directly or through others; ``shared`` ones apart.

    Options:
        modules: the package's modules, as ``package.*``.
        shared: modules of the package that the others may import, or that import them.
    """

    type_name = "independent_siblings"

    shared = fields.SetField(subfield=fields.ModuleExpressionField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001 - its signature
        """Check the modules that the wildcard finds, apart from the shared ones."""
        shared = {one.expression for one in self.shared}
        missing = shared - graph.modules
        if missing:
            raise ValueError(f"{self.name}: no such module: {', '.join(sorted(missing))}")
        found = {
            name for one in self.modules for name in graph.find_matching_modules(one.expression)
        }
        self.modules = {ModuleExpression(name) for name in found - shared}
        return super().check(graph, verbose)
