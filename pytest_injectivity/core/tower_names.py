"""The names of what stands beside a text decoder in a checkpoint."""

import re

TOWERS = re.compile(
    r"^(?:model\.)?(?:language_model\.)?(?:model\.)?"
    r"(?:mtp|mtp_layers|visual|vision_tower|vision_model|vision_encoder|vision_embed_tokens"
    r"|vision_projection|vision_embedder|img_processor|image_newline|multi_modal_projector|mm_projector"
    r"|connector|audio_tower|audio_encoder|audio_projector|embed_audio|embed_vision|talker|token2wav"
    r"|code2wav|v_head)(?:\.|$)"
)
"""Vision, audio, multi-token prediction, a head of values."""
