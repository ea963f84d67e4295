"""The components attacker separates mixed rows by themselves, and names candidates afterwards.

Independent component analysis turns the rows that were released until their coordinates are as far from
Gaussian as they can be (`search.independent_components`). A candidate is compared with each component
by the cosine, whose sign means nothing. Rows of tokens that are known, those before the position, are
anchors: the components that they match are theirs.

It is what batches mixed by fresh matrices are commonly tested against. Of as few rows as it can separate
`span` compares candidates with the whole space, which no turn changes.

Source: the attack that "Good-Enough LLM Obfuscation" (GELO), arXiv 2603.05035, defends against, with
FastICA (Hyvärinen 1999).
"""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.releases.protocol import Secret
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.independent_components import independent_components

# The most rows that are separated: the time grows with their cube, and of more it reads nothing.
_MOST = 64


class ComponentsAttacker:
    """Answers with the candidate most like an independent component that no known row has."""

    name = "components"
    source = "FastICA: Hyvärinen 1999, against GELO's mixing, arXiv 2603.05035"
    teacher_forced = True
    free_running = False
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether all positions are released, mixed, in fewer rows than coordinates, and in few."""
        mixed = channel.release.secret is Secret.MIXED_POSITIONS
        sent = max(map(len, channel.released))
        return mixed and channel.place.everywhere and sent <= min(sum(channel.sides) - 1, _MOST)

    def begin(self, setting: AttackSetting) -> "_ComponentsAttack":
        """Separates the rows of each prompt."""
        return _ComponentsAttack(setting)


class _ComponentsAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        self._components = [
            _directions(independent_components(rows, setting.seed)).to(rows.device)
            for rows in setting.channel.released
        ]

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate with the largest cosine of all free components."""
        view = view.whole
        images, before = _directions(view.images), _directions(view.before)
        likeness = torch.stack(
            [
                (images @ _free(self._components[prompt], before).T).abs().amax(dim=1)
                for prompt in prompts
            ]
        )
        return Guess.of_scores(likeness, view)


def _free(
    components: Float64[Tensor, "components width"], known: Float64[Tensor, "known width"]
) -> Float64[Tensor, "_free width"]:
    """The components that are of no known row; all where there are too few."""
    likeness = (known @ components.T).abs().nan_to_num()
    taken = linear_sum_assignment(likeness.cpu().numpy(), maximize=True)[1]
    free = [at for at in range(len(components)) if at not in set(taken.tolist())]
    return components[free] if free else components


def _directions(rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows width"]:
    """The rows centered and of length 1."""
    exact = rows.double()
    return normalize(exact - exact.mean(dim=1, keepdim=True), dim=1)
