"""Models and prompts of a folder, and states computed from them, for ``./dev bench geometry``."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.states.capture import capture

MODELS = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
STATES_OF = "gpt2-1m"
WINDOWS = 100_000
WINDOW_TOKENS = 20


class SharedStates:
    """Models and prompts of a folder, and states computed from them.

    Args:
        root: the folder.
        most: prompts taken of a file; None: all.
    """

    def __init__(self, root: Path, most: int | None = None) -> None:
        self.root = root
        self.most = most

    @cache  # noqa: B019 - one instance, for the length of the process
    def decoder(self, name: str) -> Decoder:
        """A model of the folder."""
        return load_decoder(str(self.root / "models" / name))

    def prompts(self, source: str, name: str = STATES_OF, **settings: int) -> PromptSet:
        """Prompts for a model; a file of the folder, or a built-in set."""
        decoder = self.decoder(name)
        path = self.root / "prompts" / source
        if self.most is not None:
            settings.setdefault("max_prompts", self.most)
        return load_prompts(
            str(path) if path.exists() else source,
            decoder.tokenizer,
            overlong="drop",
            context=decoder.context,
            vocab_size=decoder.vocab_size,
            **settings,
        )

    @cache  # noqa: B019 - as above
    def windows(self) -> Tensor:
        """Four layers side by side on windows of the standard library: 100,000 x 512."""
        prompts = self.prompts("builtin:stdlib", length=WINDOW_TOKENS, max_prompts=WINDOWS)
        return self._side_by_side(prompts.ids, (1, 2, 3, 4))

    @cache  # noqa: B019 - as above
    def slices(self) -> Tensor:
        """Three layers at the last token and at the middle one side by side: 20,000 x 768."""
        ids = self.prompts("prompts-20k.jsonl").ids
        halves = [prompt[: max(1, len(prompt) // 2)] for prompt in ids]
        layers: tuple[Layer, ...] = (2, 4, "norm")
        return torch.cat([self._side_by_side(one, layers) for one in (ids, halves)], dim=1)

    @cache  # noqa: B019 - as above
    def challenge(self) -> Tensor:
        """As the windows, of near-duplicates: 100,000 x 512."""
        prompts = self.prompts("builtin:challenge", max_prompts=WINDOWS)
        return self._side_by_side(prompts.ids, (1, 2, 3, 4))

    @cache  # noqa: B019 - as above
    def layers(self, name: str) -> tuple[dict[Layer, Tensor], Sequence[Sequence[int]]]:
        """The states of all layers of a model on the file of prompts, and the prompts' ids."""
        prompts, decoder = self.prompts("prompts-20k.jsonl", name), self.decoder(name)
        return dict(capture(decoder, prompts.ids, decoder.layers).rows), prompts.ids

    def _side_by_side(self, ids: Sequence[Sequence[int]], layers: Sequence[Layer]) -> Tensor:
        rows = capture(self.decoder(STATES_OF), ids, layers).rows
        return torch.cat([rows[layer] for layer in layers], dim=1)
