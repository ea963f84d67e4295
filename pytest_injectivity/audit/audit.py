"""The audit of one model on one prompt set: the object that tests, scripts and notebooks use.

    from pytest_injectivity import Audit, AuditConfig

    audit = Audit(AuditConfig(model="checkpoints/my-4bit", prompts="prompts.jsonl"))
    audit.assert_no_collisions("all", eps=1e-6)
    print(audit.check_margin_above(-1, 1e-2, normalized=True).text)

Nothing is loaded until it is needed, and nothing is computed twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from pytest_injectivity.audit.along_training import CheckpointsLike, Trajectories, Trajectory
from pytest_injectivity.audit.baseline_files import Baseline
from pytest_injectivity.audit.bound_checks import BoundChecks
from pytest_injectivity.audit.comparisons.blamed import blame_of
from pytest_injectivity.audit.comparisons.comparisons import Comparisons
from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.audit.news import News, Newsroom
from pytest_injectivity.audit.privacy_sweep import sweep
from pytest_injectivity.audit.releases.release_size import SizeOptions
from pytest_injectivity.audit.releases.releases import Releases, ReleasesLike
from pytest_injectivity.audit.target.process import Process
from pytest_injectivity.audit.target.run_summary import run_summary
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.progress import Watcher
from pytest_injectivity.quantization.grid import GridLike
from pytest_injectivity.results.releases import PrivacyCurve
from pytest_injectivity.results.summary import (
    Comparison,
    CrossReading,
    Estimate,
    LayerSummary,
    NextToken,
    RunSummary,
    Trend,
)
from pytest_injectivity.results.sweeps import Sweep, SweepPoint
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.facts import ModelFacts
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.reference.blame.blame import Blame
    from pytest_injectivity.states.resolution import LayerResolution


class Audit(BoundChecks):
    """A model on a prompt set, with its measurements and the checks that judge them.

    Args:
        config: what to audit and how.
        process: how this process takes part; see `Process`.

    Attributes:
        target: the model and the prompt set: loading, unloading, names, the store.
        measurements: the measurements of the model on the prompt set.
        comparisons: the comparisons with the reference (``--injx-reference``).
        releases: the measurements of releases of the states: attacks and utility.
        baseline: the numbers recorded in a file (``--injx-baseline``).
        verdicts: those reached so far, in order.
        sweeps: those handed to the reports so far, in order.

    Example:
        >>> audit.check_no_collisions(-1).passed
        True
    """

    def __init__(self, config: AuditConfig | None = None, **process: Unpack[Process]) -> None:
        self.target = Target(config, **process)
        self.measurements = Measurements(self.target)
        self.comparisons = Comparisons(self.measurements)
        self.releases = Releases(self.measurements)
        self.baseline = Baseline(self.measurements, self.run_summary)
        self.verdicts: list[Verdict] = []
        self.sweeps: list[Sweep] = []
        self._newsroom = Newsroom(self, self.verdicts, self.sweeps)
        self._main: Audit | None = None
        self._others: list[Audit] = []
        self._trajectories = Trajectories(self.target)

    def in_precision(self, *, dtype: str = "auto", quantization: str | None = None) -> "Audit":
        """An audit of the checkpoint in another precision; its reference is this model if none is named.

        Prompts, store and prompt names are shared, and its verdicts are reported with this audit's.

        Args:
            dtype: the dtype it computes in, as in the config.
            quantization: how it is quantized while it is loaded, as in the config.

        Raises:
            OptionError: a value is not accepted.

        Example:
            >>> audit.in_precision(dtype="bfloat16").facts.dtype
            'bfloat16'
        """
        config = replace(
            self.config,
            dtype=dtype,
            quantization=quantization,
            reference=self.config.reference or self.config.model,
        )
        process = self.target.process
        if config.kept_folder is None:
            process["scratch"] = self.target.kept.store.folder
        other = Audit(config, **process)
        other.target.use_prompts(self.prompts)
        other.verdicts = self.verdicts
        other.sweeps = self.sweeps
        other._main = self
        self._others.append(other)
        return other

    def unload(self) -> None:
        """Release the memory of the model's weights, and its reference's; the next use loads them again.

        Example:
            >>> audit.unload()
            >>> audit.target.loaded
            False
        """
        self.comparisons.unload()
        self.target.unload()

    def verdict(
        self,
        check: str,
        reasons: Sequence[Reason],
        notes: Sequence[str] = (),
        ahead: Sequence[str] = (),
    ) -> Verdict:
        """Reach a verdict of this audit and keep it.

        Args:
            check: the check's name.
            reasons: one a layer, release or field.
            notes: lines that hold for all of them.
            ahead: lines that stand before the reasons.
        """
        reached = Verdict(
            check=check,
            reasons=tuple(reasons),
            subject=self.run_summary().subject,
            reproduce=self.reproduce(),
            notes=tuple(notes),
            ahead=tuple(ahead),
            model=self.target.name,
        )
        self.verdicts.append(reached)
        return reached

    def along_training(self, checkpoints: CheckpointsLike = None) -> Trajectory:
        """The model at several steps of its training, on the prompts of this audit.

        What is measured of them is measured once, however often it is asked for.

        Args:
            checkpoints: a folder that holds ``checkpoint-STEP`` folders, or models by step; None: the
                folders beside the audited model, or in it where the model is the folder of a training.

        Raises:
            ModelError: there is no checkpoint, or one that cannot be audited.
            OptionError: there are fewer than 2, or two steps have one model.

        Example:
            >>> audit.along_training({0: "org/model@step0", 10: audit.config.model}).steps
            (0, 10)
        """
        return self._trajectories.of(checkpoints)

    def report_sweep(self, name: str, points: Sequence[SweepPoint]) -> None:
        """Hand the points of a sweep to the reports: the page draws them, JSON has them.

        Args:
            name: of the figure, such as ``by length``.
            points: of `sweep_lengths`, `sweep_bits`, `compare_models` or `along_training`.

        Example:
            >>> from pytest_injectivity import AuditConfig, sweep_lengths
            >>> config = AuditConfig(
            ...     prompts="builtin:random", max_prompts=64, layers="-1", no_cache=True
            ... )
            >>> audit.report_sweep("by length", sweep_lengths(config, [8, 16]))
        """
        self.sweeps.append(Sweep(name, tuple(points)))

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """The baseline of this audit, and those of the audits made from it."""
        return (self.baseline, *(one for other in self._others for one in other.baselines))

    def news(self) -> News:
        """The findings since the last call, which a test's report carries to the main process."""
        return self._newsroom.news()

    def run_summary(self) -> RunSummary:
        """The summary of what was audited, its reference included, as plain data."""
        compared = self.comparisons
        return run_summary(
            self.target,
            reference=compared.name,
            reference_size=compared.reference_size,
            next_token=compared.measured_next_token,
        )

    def reproduce(self) -> str:
        """The command that repeats this audit; of an audit made from another the other's command."""
        return self.target.reproduce() if self._main is None else self._main.reproduce()

    @property
    def config(self) -> AuditConfig:
        """What is audited and how."""
        return self.target.config

    @property
    def watcher(self) -> Watcher:
        """The watcher that receives the audit's progress."""
        return self.target.watcher

    @property
    def decoder(self) -> "Decoder":
        """The model, its activations rounded as it runs where the config says so.

        Raises:
            ModelError: it cannot be audited.
            OptionError: its activations have no scale.
        """
        return self.target.decoder

    @property
    def prompts(self) -> "PromptSet":
        """The prompt set, tokenized for the model.

        Raises:
            PromptError: it cannot be audited.
        """
        return self.target.prompts

    @property
    def facts(self) -> "ModelFacts":
        """What is known of the model without running it."""
        return self.target.facts

    @property
    def n_layers(self) -> int:
        """The model's number of blocks; no weights are loaded for it."""
        return self.target.n_layers

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers the config names, shallow first."""
        self.target.use("layers")
        return self.target.layers

    def name_of(self, prompt: int) -> str:
        """The name of a prompt in reports: index, keyed hash, length; its text only when asked for."""
        return self.target.name_of(prompt)

    def states(self, layer: Layer) -> "Tensor":
        """The last-token states ``H_l``: ``(prompts, hidden)``, on the CPU, in the model's dtype."""
        return self.measurements.states(layer)

    def geometry(self, layer: int | str, *, bits: GridLike | None = None) -> "LayerGeometry":
        """The geometry of a layer, after post-hoc activation quantization where bits are given.

        Args:
            layer: one layer.
            bits: a number of bits, or what `Grid` reads, such as ``"4 asymmetric per-token"``.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: the bits are not accepted.

        Example:
            >>> audit.geometry(-1).margin(q=0.0) > 0
            True
        """
        return self.measurements.geometry(layer, bits=bits)

    def resolution(self, layer: Layer) -> "LayerResolution":
        """The resolution of a layer, and its error, over a sample of the prompts (SPEC section 2)."""
        return self.measurements.resolution(layer)

    def layer_summary(self, layer: int | str, bits: GridLike | None = None) -> LayerSummary:
        """The numbers of a layer as plain data, after activation quantization where bits are given."""
        return self.measurements.layer_summary(layer, bits)

    def trend(self, layer: int | str) -> Trend:
        """How margin and co-Lipschitz constant fell from N/4 to N/2 to N prompts (SPEC section 2)."""
        return self.measurements.trend(layer)

    @property
    def reference(self) -> Measurements:
        """The measurements of the reference; see `Comparisons.reference`."""
        return self.comparisons.reference

    @property
    def compared(self) -> tuple[Layer, ...]:
        """The layers that were compared with the reference's."""
        return self.comparisons.compared

    def comparison(self, layer: int | str) -> Comparison:
        """The comparison of one layer with the reference's; see `Comparisons.of`."""
        return self.comparisons.of(layer)

    def blame(self, layer: int | str) -> "Blame":
        """The part of a layer that its error against the reference comes from (SPEC section 7).

        Each part is taken from the model into its reference, and the other way round.

        Args:
            layer: one layer: 0 for the embeddings, 1 to L for a block, ``"norm"`` for the final norm
                and the language-model head.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: no reference is named, or it is no parent of the model.

        Example:
            >>> coarse = audit.in_precision(dtype="bfloat16")
            >>> coarse.blame(1).control
            0.0
        """
        return blame_of(self.comparisons.against, self.target.one_layer(layer))

    def sipit_rates(
        self, layer: int | str, *, prompts: int = 20, tokens: int = 20
    ) -> tuple[Estimate, Estimate]:
        """The rates of prompts that SipIt recovers of both models; see `Comparisons.sipit_rates`."""
        return self.comparisons.sipit_rates(layer, prompts=prompts, tokens=tokens)

    def cross_inversion(
        self, layer: int | str, *, prompts: int = 20, tokens: int = 20
    ) -> CrossReading:
        """How much somebody with the reference reads; see `Comparisons.cross_inversion`."""
        return self.comparisons.cross_inversion(layer, prompts=prompts, tokens=tokens)

    def next_token(
        self, *, prompts: int = 300, tokens: int = 128, second_half: bool = False
    ) -> NextToken:
        """How near next tokens are to the reference's; see `Comparisons.next_token`."""
        return self.comparisons.next_token(prompts=prompts, tokens=tokens, second_half=second_half)

    def exposures(
        self, releases: ReleasesLike, **size: Unpack[SizeOptions]
    ) -> tuple["ReleaseResult", ...]:
        """How much every attacker reads from releases, and their utility; see `Releases.exposures`."""
        return self.releases.exposures(releases, **size)

    def sweep(
        self,
        release: str,
        strengths: Iterable[float | str],
        *,
        max_token_rate: float,
        min_agreement: float,
        confidence: float = 0.95,
        **size: Unpack[SizeOptions],
    ) -> PrivacyCurve:
        """Measure a release at several strengths, to find those at which privacy and utility both hold.

        Args:
            release: a text with ``?`` where the strength stands: ``"gaussian(sigma=? rel)@4"``.
            strengths: numbers or texts.
            max_token_rate: as for ``check_not_recoverable``, judged on upper bounds.
            min_agreement: as for ``check_utility_kept``, judged on the point value.
            confidence: the level of the bounds.
            size: how many prompts and tokens are measured; see `SizeOptions`.

        Raises:
            OptionError: a number, the text or a strength is not accepted.
            LayerError: the model has no such layer.
            ModelError: the model caches no keys and values.
        """
        return sweep(
            self,
            release,
            strengths,
            max_token_rate=max_token_rate,
            min_agreement=min_agreement,
            confidence=confidence,
            **size,
        )
