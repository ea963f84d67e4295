import pytest

from pytest_injectivity import Audit
from pytest_injectivity.testing import tiny_decoder
from tests.audit.comparisons.rounded import IDS, rounded
from tests.audits import audit_against


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of a rounded model that tests only look at."""
    return audit_against(tmp_path_factory.mktemp("pair"), rounded(), tiny_decoder(), IDS)
