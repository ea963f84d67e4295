"""How often the two models of a comparison are loaded, and whether they are in memory together."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.models import loading
from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    save_checkpoint,
    tiny_decoder,
)
from tests.audit.comparisons.rounded import IDS, all_checks, rounded
from tests.audits import audit_against

pytestmark = pytest.mark.usefixtures("empty_store")


class Counter:
    """Counts what is loaded, and how many models are alive as one more is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[str] = []
        self.alive: list[int] = []
        self._decoders: list[weakref.ref[Decoder]] = []
        load = loading.load

        def counted(checkpoint: Checkpoint, **settings: Any) -> Decoder:
            gc.collect()
            self.alive.append(sum(one() is not None for one in self._decoders))
            decoder = load(checkpoint, **settings)
            self._decoders.append(weakref.ref(decoder))
            self.loaded.append(Path(checkpoint.source).name)
            return decoder

        monkeypatch.setattr(loading, "load", counted)


@pytest.mark.parametrize("free", [0])
def test_two_models_that_do_not_fit_are_never_there_together(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is loaded once for what is captured, whatever is compared."""
    counter = Counter(monkeypatch)
    monkeypatch.setattr(
        "pytest_injectivity.core.free_memory.free_memory", lambda *_, **_named: free
    )
    audit = audit_against(tmp_path, rounded(), tiny_decoder(), IDS, layers="1,2")
    audit.check_state_drift_below("1,2", relative=0.35)
    assert ["model", "parent"] == counter.loaded[:2]
    assert {0} == set(counter.alive)
    audit.check_margin_retained(fraction=0.5)
    audit.check_no_new_collisions("1,2")
    audit.cross_inversion(1, prompts=2, tokens=3)
    assert {0} == set(counter.alive)
    assert len(counter.loaded) <= 8


def test_two_models_that_fit_are_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stay."""
    counter = Counter(monkeypatch)
    monkeypatch.setattr(
        "pytest_injectivity.core.free_memory.free_memory", lambda *_, **_named: 2**40
    )
    audit = audit_against(tmp_path, rounded(), tiny_decoder(), IDS)
    audit.check_state_drift_below(relative=0.35)
    audit.check_no_new_collisions()
    audit.cross_inversion(1, prompts=2, tokens=3)
    assert ["model", "parent"] == counter.loaded
    assert [0, 1] == counter.alive


@pytest.mark.slow
def test_what_the_store_has_is_not_loaded_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second audit loads neither and says the same; a new child loads itself alone."""
    audit = audit_against(tmp_path, rounded(), tiny_decoder(), IDS, hash_key="k")
    first = [plain(check()) for check in all_checks(audit)]
    told = audit.news().comparisons
    counter = Counter(monkeypatch)
    again = Audit(audit.config)
    assert first == [plain(check()) for check in all_checks(again)]
    assert told == again.news().comparisons
    assert [] == counter.loaded
    save_checkpoint(rounded(4), tmp_path / "model")
    other = Audit(audit.config)
    # What the parent reads of it is read with the parent.
    assert first[:-1] != [plain(check()) for check in all_checks(other)[:-1]]
    assert {"model"} == set(counter.loaded)
