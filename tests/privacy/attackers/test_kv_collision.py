import pytest

from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.kv_collision import KvCollisionAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts


@pytest.mark.parametrize("what", ["keys", "values"])
def test_one_side_alone_is_read_as_argmin_reads_it(what: str) -> None:
    """Dividing all distances by one unit changes no order."""
    release = "gaussian(sigma=0.2)"
    found = attacks(
        tiny_decoder("llama"),
        f"2 {what}",
        [release],
        drawn_prompts(4, 3),
        attackers=(ArgminAttacker(), KvCollisionAttacker()),
        free_running=0,
    )
    argmin, collision = found[release, "argmin", True], found[release, "collision", True]
    assert (argmin.right == collision.right).all()
    assert 0.0 < collision.token_rate < 1.0


def test_values_speak_where_keys_are_drowned() -> None:
    """Each side has a unit of its own, so that noise on long keys does not hide short values."""
    release = "gaussian(sigma=1 rel)"
    found = attacks(
        tiny_decoder("llama", std=0.5),
        "2 kv",
        [release],
        drawn_prompts(6, 3),
        attackers=(ArgminAttacker(), KvCollisionAttacker()),
        free_running=0,
    )
    argmin, collision = (found[release, name, True].token_rate for name in ("argmin", "collision"))
    assert collision > 0.0
    assert argmin > 0.0
