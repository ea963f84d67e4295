"""What holds for every release step: a step that is added is tested here by its row's examples."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.config.release_steps import STEPS
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.checking import check_release
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release, Secret, draws
from pytest_injectivity.privacy.releases.registry import release_step, release_steps
from tests.repetitions import mostly_slow

EXAMPLES = [example for step in STEPS.values() for example in step.examples]
IDS = (1, 2, 3)
# Some steps need to know what the model makes of the states of a layer.
PLACED = [
    (example, place)
    for example in EXAMPLES
    for place in ("0", "1", "norm", "1 kv", "2 keys", "1 and norm")
    if place in {"0", "1", "norm"} or not release_steps()[example.partition("(")[0]].of_states
]

Observe = Callable[..., Observed]


def _bound(example: str, observed: Observed) -> Release:
    return bind(parse(f"{example}@1"), observed)


def test_every_row_of_the_grammar_has_a_module_and_every_module_a_row() -> None:
    """A step is known to both sides or to none."""
    assert set(STEPS) == set(release_steps())


def test_a_step_is_registered_once_and_has_a_row() -> None:
    """Two modules of one name, or one without a row in the table, are a mistake of ours."""
    release_steps()
    for name in ("round", "unheard"):
        with pytest.raises(ValueError, match=f"step '{name}' must be a row of STEPS"):
            release_step(name)


@pytest.mark.parametrize("name", STEPS)
def test_a_row_has_examples_of_its_own_step(name: str) -> None:
    """The grammar in messages and the tests below are made of them."""
    assert STEPS[name].examples
    assert {name} == {parse(f"{example}@1").steps[0].name for example in STEPS[name].examples}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_text_round_trips(example: str) -> None:
    """The canonical text is read as the same release, and is its own canonical text."""
    spec = parse(f"{example}@1")
    assert spec == parse(str(spec))
    assert str(spec) == str(parse(str(spec)))


@pytest.mark.parametrize(
    ("example", "place"),
    mostly_slow(PLACED, *(one for one in PLACED if one[1] not in {"0", "norm"})),
)
def test_a_step_is_a_release_of_real_rows(example: str, place: str, observed: Observe) -> None:
    """It passes the checks that every release of a user passes, on states and on keys and values."""
    spec, found = parse(f"{example}@{place}"), observed(place)
    release = bind(spec, found)
    assert isinstance(release, Release)
    check_release(release, found, 0, str(spec), same=spec.is_identity)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_dtype_stay(
    example: str, dtype: torch.dtype, rows: Tensor, observed: Observe
) -> None:
    """Of what is sent, received and seen by an attacker; the rows given are not changed."""
    release, given = _bound(example, observed("1")), rows.to(dtype)
    kept = given.clone()
    sent = release.apply(given, draws(0, IDS))
    assert (rows.shape[1], dtype) == (sent.shape[1], sent.dtype)
    assert len(sent) == len(rows) or (release.secret.mixes_positions and len(sent) > len(rows))
    for found in (release.undo(sent, draws(0, IDS)), release.image(given)):
        assert (rows.shape, dtype) == (found.shape, found.dtype)
    assert torch.equal(kept, given)


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_sent_depends_on_the_seed_and_the_prompt_alone(
    example: str, rows: Tensor, observed: Observe
) -> None:
    """The same draw gives the same rows, before and after another prompt was released."""
    release = _bound(example, observed("1"))
    first = release.apply(rows, draws(0, IDS))
    release.apply(rows, draws(0, (9, 9)))
    assert torch.equal(first, release.apply(rows, draws(0, IDS)))
    assert torch.equal(first, _bound(example, observed("1")).apply(rows, draws(0, IDS)))


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_release_that_hides_something_tells_two_prompts_apart(
    example: str, rows: Tensor, observed: Observe
) -> None:
    """Noise and order are drawn for each prompt; what draws nothing sends the same for both."""
    release = _bound(example, observed("1"))
    one, other = (release.apply(rows, draws(0, ids)) for ids in ((1,), (2,)))
    fresh = release.secret is not Secret.NOTHING and not release.secret.is_shared
    draws_something = fresh or not release.noise.is_none or not release.ordered
    assert draws_something != torch.equal(one, other)


@pytest.mark.parametrize("example", EXAMPLES)
def test_undo_gives_the_rows_or_what_was_sent(
    example: str, rows: Tensor, observed: Observe
) -> None:
    """A receiver either restores the rows by the draw or takes them as they came."""
    release = _bound(example, observed("1"))
    sent = release.apply(rows, draws(0, IDS))
    received = release.undo(sent, draws(0, IDS))
    assert any(torch.allclose(received, one, rtol=0, atol=1e-5) for one in (rows, sent))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_image_is_what_is_sent_without_the_draw(
    example: str, rows: Tensor, observed: Observe
) -> None:
    """Row by row, so that an attacker can do to a candidate what the sender did to a state."""
    release = _bound(example, observed("1"))
    image = release.image(rows)
    assert torch.equal(image, torch.cat([release.image(row[None]) for row in rows]))
    hidden = not release.noise.is_none or not release.ordered
    hidden = hidden or release.secret is not Secret.NOTHING
    sent = release.apply(rows, draws(0, IDS))
    assert hidden or torch.equal(sent, image)
