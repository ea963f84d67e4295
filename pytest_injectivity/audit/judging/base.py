"""The audit as its checks see it, and helpers that choose the layers judged and build the verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from pytest_injectivity.audit.judging.common import worst_note
from pytest_injectivity.core.layers import Layer, LayerSpec, resolve_blocks
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.core.tolerances import by_layer as spread
from pytest_injectivity.results.verdict import Reason, Status, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.along_training import CheckpointsLike, Trajectory
    from pytest_injectivity.audit.baseline_files import Baseline
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.audit.comparisons.comparisons import Comparisons
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.audit.releases.releases import Releases
    from pytest_injectivity.results.summary import RunSummary

T = TypeVar("T")


@runtime_checkable
class Audited(Protocol):
    """The parts of an `Audit` that its checks use."""

    @property
    def measurements(self) -> "Measurements":
        """The measurements of the model on the prompt set."""

    @property
    def comparisons(self) -> "Comparisons":
        """The comparisons of the model with its reference."""

    @property
    def releases(self) -> "Releases":
        """The measurements of releases."""

    @property
    def baseline(self) -> "Baseline":
        """The numbers recorded in a file."""

    def along_training(self, checkpoints: "CheckpointsLike" = None) -> "Trajectory":
        """The model at several steps of its training."""

    def run_summary(self) -> "RunSummary":
        """The summary of what is audited, as plain data."""

    def verdict(
        self,
        check: str,
        reasons: Sequence[Reason],
        notes: Sequence[str] = (),
        ahead: Sequence[str] = (),
    ) -> Verdict:
        """Reach a verdict and keep it."""


def by_layer(
    audit: Audited, name: str, given: PerLayer[T], layer: LayerSpec | None
) -> dict[Layer, T]:
    """The value of each layer that a check judges, shallow first; these layers are measured in one pass.

    Args:
        audit: the audit.
        name: the argument's name, for errors.
        given: one value, or values by layer.
        layer: the layers asked for; None: those that the values name, else those of the config.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a layer asked for has no value, or has two.
    """
    target = audit.measurements.target
    if layer is None and not isinstance(given, Mapping):
        target.use("layers")
    found = spread(name, given, layer, target.n_layers, target.config.layers)
    target.expect(found)
    return found


def compared(audit: Audited, layers: Iterable[Layer]) -> "Against":
    """The model and its reference, both measured at these layers in the same passes.

    Raises:
        OptionError: no reference is named, or it is no parent of the model.
        ModelError: the reference cannot be audited.
    """
    against = audit.comparisons.against
    against.parent.target.expect(layers)
    return against


def with_embedding(audit: Audited, layer: LayerSpec | None, given: object) -> LayerSpec | None:
    """The spec given; layer 0 and the config's layers where neither it nor values by layer are given."""
    if layer is None and not isinstance(given, Mapping):
        audit.measurements.target.use("layers")
        return f"0,{audit.measurements.target.config.layers}"
    return layer


def blocks_alone(audit: Audited, layer: LayerSpec | None, given: object) -> LayerSpec | None:
    """The spec given; the config's layers but the final norm where neither it nor values are given."""
    if layer is None and not isinstance(given, Mapping):
        target = audit.measurements.target
        target.use("layers")
        return resolve_blocks(target.config.layers, target.n_layers)
    return layer


def against_reference(
    audit: Audited,
    check: str,
    layers: Iterable[Layer],
    reasons: Sequence[Reason],
    badness: Callable[[Reason], float] = lambda reason: reason.value,
    *,
    notes: Sequence[str] = (),
) -> Verdict:
    """Build the verdict on layers compared with the reference; a note names the reference.

    Where a layer does not pass, the fields in which the model is another function than its reference
    stand before all numbers.

    Args:
        audit: the audit.
        check: the check's name.
        layers: the layers compared.
        reasons: one a layer.
        badness: how bad a reason is; the worst layer is named. NaN is worst of all.
        notes: further lines that hold for all layers.
    """
    audit.comparisons.note(layers)
    said = [*worst_note(reasons, badness), *blame_lines(audit, reasons)]
    named = f"against {audit.run_summary().reference}"
    return audit.verdict(check, reasons, [*said, *notes, named], function_lines(audit, reasons))


def blame_lines(audit: Audited, reasons: Sequence[Reason]) -> tuple[str, ...]:
    """The line on the part that is to blame; none where all layers pass."""
    from pytest_injectivity.audit.comparisons.blamed import blame_line

    if reasons and all(reason.status is Status.PASS for reason in reasons):
        return ()
    return (blame_line(audit.comparisons.against),)


def function_lines(audit: Audited, reasons: Sequence[Reason]) -> tuple[str, ...]:
    """Lines on what makes the model another function than its reference; none where all layers pass."""
    from pytest_injectivity.reference.differences import difference_lines

    if reasons and all(reason.status is Status.PASS for reason in reasons):
        return ()
    return difference_lines(audit.comparisons.differences)
