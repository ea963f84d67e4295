"""What optional libraries say on their first import, and nobody who audits can act on.

Where torchao is installed, transformers imports it with every model: it tells of kernels for GPUs that
are not here, and torch of an interface that torchao uses.
"""

import logging

_TALKATIVE = ("torchao", "torch.utils._pytree")


def hush() -> None:
    """Let these libraries speak of errors only; a level that somebody has set is kept."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.ERROR)
