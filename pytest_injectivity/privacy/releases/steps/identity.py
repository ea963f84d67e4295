"""``identity``: rows are sent as they are. Attacks on all other releases are compared with it."""

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


class IdentityRelease(DeterministicRelease):
    """Sends rows as they are."""


@release_step("identity", whole_rows=True)
def bind_identity(step: StepSpec, rows: RowScale) -> Release:  # noqa: ARG001 - has no parameter
    """Makes the identity."""
    return IdentityRelease(rows.width)
