import socket

import pytest

from pytest_injectivity.privacy.evaluation import recognizers
from pytest_injectivity.privacy.evaluation.recognizers import recognized_spans

TEXT = "ann.lee@mail.example.org paid by 4012-8888-8888-1881 from 192.168.0.1, call +49 30 901820"


def test_without_presidio_nothing_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans of our own patterns are still counted."""
    monkeypatch.setattr(recognizers, "installed_version", lambda _: None)
    assert () == recognized_spans(TEXT)


def test_presidio_finds_what_its_patterns_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, and no part of a text twice."""
    pytest.importorskip("presidio_analyzer")

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("no network is asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    found = {TEXT[one.start : one.end]: one.kind for one in recognized_spans(TEXT)}
    assert {
        "ann.lee@mail.example.org": "EMAIL_ADDRESS",
        "4012-8888-8888-1881": "CREDIT_CARD",
        "192.168.0.1": "IP_ADDRESS",
        "+49 30 901820": "PHONE_NUMBER",
    } == found


def test_a_card_with_a_wrong_check_digit_is_none() -> None:
    """Recognizers check more than a pattern."""
    pytest.importorskip("presidio_analyzer")
    assert "CREDIT_CARD" not in {one.kind for one in recognized_spans("by 4012-8888-8888-1882")}
