"""What a config says of loading prompts."""

from typing import TYPE_CHECKING, cast

from pytest_injectivity.audit.keys import StdlibPromptsKey
from pytest_injectivity.config.audit_config import AuditConfig

if TYPE_CHECKING:
    from pytest_injectivity.prompts.settings import Conversations, Settings, SpecialTokens


def prompt_settings(config: AuditConfig) -> "Settings":
    """The settings of loading the prompts, without what only the model knows (context, vocabulary)."""
    from pytest_injectivity.prompts.settings import Settings

    return Settings(
        field=config.prompt_field,
        length=config.length,
        overlong="drop" if config.drops_overlong else "refuse",
        special_tokens=cast("SpecialTokens", config.special_tokens),
        conversations=cast("Conversations", config.conversations),
        max_prompts=config.sample,
        seed=config.seed,
    )


def stdlib_key(config: AuditConfig) -> StdlibPromptsKey:
    """The key under which the store keeps ``builtin:stdlib``, whose texts are public."""
    from pytest_injectivity.prompts.stdlib import stdlib_state

    return StdlibPromptsKey(
        files=stdlib_state(),
        field=config.prompt_field,
        length=config.length,
        overlong=config.overlong,
        special_tokens=config.special_tokens,
        sample=config.sample,
        seed=config.seed,
    )
