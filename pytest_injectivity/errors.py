"""Everything this package raises on purpose.

InjectivityError
├── WrongUse                 the person asked for something that cannot be done: exit status 4
│   ├── OptionError          a flag, an ini value or an argument
│   ├── LayerError           a layer the model does not have, or a text that names none
│   ├── PromptError          a prompt file or prompt set that cannot be audited
│   ├── ModelError           a checkpoint that cannot be audited
│   └── MissingExtra         an optional library is needed; the message names the extra
├── WorkersDied              processes that parts of an audit were handed to are gone
└── GateFailure              a verdict that is not PASS (an AssertionError): exit status 1

This file imports nothing, so that the plugin may import it at any time.
"""


class InjectivityError(Exception):
    """Base of every error this package raises on purpose."""


class WrongUse(InjectivityError, ValueError):  # noqa: N818 - it names what happened, as httpx does
    """What was asked for cannot be done; the message names the thing, its value and what is accepted."""


class OptionError(WrongUse):
    """A flag, an ini value or an argument has a value that is not accepted."""


class LayerError(WrongUse):
    """A layer is out of range, or a text names no layer."""


class PromptError(WrongUse):
    """A prompt file or a prompt set cannot be audited."""


class ModelError(WrongUse):
    """A checkpoint cannot be audited."""


class MissingExtra(WrongUse):
    """An optional library is needed and not installed; the message names the extra that brings it."""


class WorkersDied(InjectivityError, RuntimeError):  # noqa: N818 - it names what happened
    """Workers ended, one after the other, on the same part of an audit."""


class GateFailure(InjectivityError, AssertionError):  # noqa: N818 - pytest calls it a failure
    """An assertion helper's verdict is not PASS; the message is the verdict's text."""
