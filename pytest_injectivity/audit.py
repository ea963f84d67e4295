"""The audit of one model on one prompt set: the object that tests, scripts and notebooks use.

    from pytest_injectivity import Audit, AuditConfig

    audit = Audit(AuditConfig(model="checkpoints/my-4bit", prompts="prompts.jsonl"))
    audit.assert_no_collisions("all", eps=1e-6)
    print(audit.check_margin_above(-1, 1e-2, normalized=True).text)

Nothing is loaded until it is needed, and nothing is computed twice.
"""

from typing import NamedTuple

from pytest_injectivity.assertions import Assertions
from pytest_injectivity.layers import Layer
from pytest_injectivity.summary import LayerSummary, RunSummary
from pytest_injectivity.verdict import Verdict


class News(NamedTuple):
    """What an audit has found since it was last asked.

    Attributes:
        run: what is audited; None while no prompt has been run.
        verdicts: new verdicts.
        layers: the layers measured, if there are new ones among them.
    """

    run: RunSummary | None
    verdicts: tuple[Verdict, ...]
    layers: tuple[LayerSummary, ...]


class Audit(Assertions):
    """A model, a prompt set, what is measured of them, and the checks that decide.

    Args and attributes are those of `Measurements`; the checks are those of `Assertions`.
    """

    _told_verdicts = 0
    _told_layers: frozenset[tuple[Layer, int | None]] = frozenset()

    def news(self) -> News:
        """What was found since the last call: a test's report carries it to the controller."""
        verdicts = tuple(self.verdicts[self._told_verdicts :])
        new = [measured for measured in self.measured if measured not in self._told_layers]
        if not verdicts and not new:
            return News(None, (), ())
        layers = tuple(self.layer_summary(layer, bits) for layer, bits in new)
        self._told_verdicts = len(self.verdicts)
        self._told_layers = frozenset(self.measured)
        return News(self.run_summary(), verdicts, layers)
