"""The embedding attacker compares a state with the embedding row of every token.

It runs no candidate and is the weakest attacker, and the cheapest. Embedding rows lie on the scale of
layer 0, so only the cosine is compared.

Source: a baseline of Qu et al., "Prompt Inversion Attack against Collaborative Inference of Large
Language Models", arXiv 2503.09022.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.attackers.base import AttackSetting, LookedUp
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.padding import named_tokens


class EmbeddingAttacker:
    """Answers with the token whose embedding row has the largest cosine with the state.

    Args:
        block_elements: cosines held at once.
    """

    name = "embedding"
    source = "a baseline of Qu et al., arXiv 2503.09022"
    teacher_forced = True
    free_running = False
    remembers = False

    def __init__(self, block_elements: int = 2**24) -> None:
        self.block_elements = block_elements

    def fits(self, channel: Channel) -> bool:
        """Whether states are shown in order at every position."""
        return channel.shows_rows_in_order and channel.place.of_states

    def begin(self, setting: AttackSetting) -> LookedUp:
        """Answers all positions at once."""
        embeddings = setting.decoder.embedding_matrix().nan_to_num()
        rows = normalize(setting.channel.release.image(embeddings).float(), dim=1)
        released = torch.cat(setting.channel.released).to(rows)
        named = named_tokens(setting.decoder)

        def cosines(some: Float[Tensor, "some width"]) -> Float[Tensor, "some vocab"]:
            found: Tensor = normalize(some, dim=1) @ rows.T
            return (
                found if named is None else found.masked_fill(~named.to(found.device), -torch.inf)
            )

        parts = torch.split(released, max(1, self.block_elements // len(rows)))
        answers = [cosines(some).argmax(dim=1) for some in parts]
        each = torch.split(released, list(setting.channel.lengths))
        return LookedUp(
            setting.channel, torch.cat(answers), lambda one, at: cosines(each[one][at : at + 1])[0]
        )
