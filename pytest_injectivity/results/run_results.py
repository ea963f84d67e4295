"""What the tests of a run found, gathered from the properties of their reports."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RunResults:
    """What the tests of a run found, as plain data (see `summary` and `verdict`).

    Attributes:
        run: what was audited; None while nothing was.
        layers: the measured layers, by id and bits.
        releases: what was measured of releases, by release, place, prompts and tokens.
        verdicts: in the order they arrived.
        said: sentences a person should see.
        wrong_use: messages about what could not be done.
    """

    run: dict[str, Any] | None = None
    layers: dict[tuple[str, int | str | None], dict[str, Any]] = field(default_factory=dict)
    releases: dict[tuple[str, str, int, int], dict[str, Any]] = field(default_factory=dict)
    comparisons: dict[str, dict[str, Any]] = field(default_factory=dict)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    wrong_use: list[str] = field(default_factory=list)

    @property
    def compared(self) -> bool:
        """Whether anything was measured or judged."""
        return bool(self.verdicts or self.layers or self.releases or self.comparisons)

    def take(self, name: str, text: str) -> None:
        """Add what a report's property says."""
        if name == "run":
            self.run = json.loads(text)
        elif name == "layer":
            layer = json.loads(text)
            self.layers[layer["layer"], layer["bits"]] = layer
        elif name == "comparison":
            one = json.loads(text)
            self.comparisons[one["layer"]] = one
        elif name == "release":
            one = json.loads(text)
            self.releases[one["release"], one["place"], one["prompts"], one["tokens"]] = one
        elif name == "verdict":
            self.verdicts.append(json.loads(text))
        elif name == "said" and text not in self.said:
            self.said.append(text)
