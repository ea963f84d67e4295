"""Measures how much attackers read from releases, and their utility: once for each release and size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, Union, Unpack

from pytest_injectivity.audit.keys import ReleaseResultKey
from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.audit.releases.release_size import Size, SizeOptions
from pytest_injectivity.config.release_place import Place
from pytest_injectivity.config.release_spec import ReleaseSpec, parse
from pytest_injectivity.core.versions import installed_version
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult
    from pytest_injectivity.privacy.releases.custom import CustomRelease

ReleaseLike: TypeAlias = Union[str, ReleaseSpec, "CustomRelease"]
"""A text of the grammar, or a custom release."""

_JUDGING = ("sacrebleu", "presidio-analyzer")

ReleasesLike: TypeAlias = ReleaseLike | Sequence[ReleaseLike]


class Releases:
    """Measures releases of a model's states.

    Releases that are asked for in one call, at one number of prompts and tokens, share their passes.

    Args:
        measurements: the measurements of the model whose states are released.
    """

    def __init__(self, measurements: Measurements) -> None:
        self.measurements = measurements
        self._exposed: dict[tuple[object, Size], ReleaseResult] = {}

    def exposures(
        self, releases: ReleasesLike, **size: Unpack[SizeOptions]
    ) -> tuple["ReleaseResult", ...]:
        """How much every attacker reads from releases, and the utility of each.

        Args:
            releases: one or more, at any places.
            size: how many prompts and tokens are measured; see `SizeOptions`.

        Returns:
            One result for each release, in the order given.

        Raises:
            OptionError: a release is not accepted, or too few prompts are long enough.
            LayerError: the model has no such layer.
            ModelError: the model caches no keys and values.
        """
        asked = [self._parsed(one) for one in _each(releases)]
        if not asked:
            raise OptionError("no release is named: give at least one, such as identity@4")
        sizes = [Size.of(_place(one), size) for one in asked]
        for own in dict.fromkeys(sizes):
            self._measure(
                [one for one, wanted in zip(asked, sizes, strict=True) if wanted == own], own
            )
        return tuple(self._exposed[_key(one), own] for one, own in zip(asked, sizes, strict=True))

    def with_the_configs(
        self, releases: ReleasesLike, size: SizeOptions
    ) -> tuple["ReleaseResult", ...]:
        """The results of some releases; where they are among the config's, all of these share passes.

        Tests that use ``injx_release`` ask for one release of the config after the other.
        """
        asked = [self._parsed(one) for one in _each(releases)]
        config = [self._parsed(one) for one in self.measurements.target.config.release]
        if {_key(one) for one in asked} <= {_key(one) for one in config}:
            self.measurements.target.use("release")
            sizes = {Size.of(_place(one), size) for one in asked}
            asked += [
                one for one in config if one not in asked and Size.of(_place(one), size) in sizes
            ]
        return self.exposures(asked, **size)[: len(_each(releases))]

    @property
    def exposed(self) -> tuple["ReleaseResult", ...]:
        """The results of all releases measured so far."""
        return tuple(self._exposed.values())

    def _parsed(self, release: ReleaseLike) -> "ReleaseSpec | CustomRelease":
        """Parse a text, and count its layer from the first, so that a release has one name."""
        from pytest_injectivity.privacy.releases.custom import CustomRelease

        if isinstance(release, CustomRelease):
            return release
        recipe = release if isinstance(release, ReleaseSpec) else parse(release)
        return replace(recipe, place=recipe.place.resolved(self.measurements.target.n_layers))

    def _measure(self, asked: Sequence["ReleaseSpec | CustomRelease"], size: Size) -> None:
        """Measures the releases that are new; the store keeps the results of those given as texts."""
        new = {_key(one): one for one in asked if (_key(one), size) not in self._exposed}
        # No store key covers a user's function or an attacker's checkpoint: results are not kept.
        kept = size.attacker is None
        texts = {key: one for key, one in new.items() if kept and isinstance(one, ReleaseSpec)}
        found = self.measurements.target.entry.remember_each(
            {
                key: ReleaseResultKey(
                    str(one),
                    size.prompts,
                    size.tokens,
                    size.free_running,
                    practice=size.practice,
                    known=size.known,
                    queries=size.queries,
                    budget=size.budget,
                    seed=self.measurements.target.config.seed,
                    libraries=_libraries(),
                )
                for key, one in texts.items()
            },
            lambda missing: self._expose([texts[key] for key in missing], size),
        )
        if others := [one for key, one in new.items() if key not in texts]:
            found |= self._expose(others, size)
        for key, exposure in found.items():
            self._exposed[key, size] = exposure

    def _expose(
        self, releases: Sequence["ReleaseSpec | CustomRelease"], size: Size
    ) -> dict[object, "ReleaseResult"]:
        from pytest_injectivity.audit.releases.release_evaluation import expose

        found = expose(self.measurements, releases, size)
        return {_key(one): exposure for one, exposure in zip(releases, found, strict=True)}


def _libraries() -> tuple[str, ...]:
    """The optional libraries by which answers are judged: what they measure is missing without them."""
    found = {name: installed_version(name) for name in _JUDGING}
    return tuple(f"{name} {version}" for name, version in found.items() if version is not None)


def _each(releases: ReleasesLike) -> list[ReleaseLike]:
    return list(releases) if isinstance(releases, (list, tuple)) else [releases]  # type: ignore[list-item] # one


def _place(release: "ReleaseSpec | CustomRelease") -> Place:
    return release.place if isinstance(release, ReleaseSpec) else release.at


def _key(release: "ReleaseSpec | CustomRelease") -> object:
    """The key of a release: the text of a spec, or the custom release itself."""
    return str(release) if isinstance(release, ReleaseSpec) else release
