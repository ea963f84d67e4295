import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.config.release_place import Place
from pytest_injectivity.config.release_spec import (
    GRAMMAR,
    ReleaseSpec,
    StepSpec,
    filled,
    parse,
    parse_place,
)
from pytest_injectivity.config.release_steps import STEPS, Amount
from pytest_injectivity.errors import OptionError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("identity@4", "identity@4"),
        ("identity()@4", "identity@4"),
        (" gaussian ( sigma = 0.1 ) @ 8 ", "gaussian(sigma=0.1)@8"),
        ("gaussian(0.1)@8", "gaussian(sigma=0.1)@8"),
        ("gaussian(sigma=0.1 rel)@8", "gaussian(sigma=0.1 rel)@8"),
        ("gaussian(1e-3rel)@8", "gaussian(sigma=0.001 rel)@8"),
        ("round(bits=4)@8", "round(bits=4)@8"),
        ("round(4)@-1", "round(bits=4)@-1"),
        ("topk(0.1)@norm", "topk(share=0.1)@norm"),
        ("rotate(seed=1)@8", "rotate(seed=1, key=secret)@8"),
        ("rotate@8", "rotate(seed=0, key=secret)@8"),
        ("rotate(2, known)@8", "rotate(seed=2, key=known)@8"),
        ("permute@8", "permute@8"),
        ("cast(fp8)@8", "cast(dtype=fp8)@8"),
        ("lowrank(rank=4, sigma=1.0)@4", "lowrank(rank=4, sigma=1, seed=0)@4"),
        ("lowrank(sigma=1.0, rank=4)@4", "lowrank(rank=4, sigma=1, seed=0)@4"),
        ("round(4)|permute|gaussian(2)@0", "round(bits=4)|permute|gaussian(sigma=2)@0"),
        ("identity@8 last", "identity@8 last"),
        ("identity@8 mean", "identity@8 mean"),
        ("identity@8 answer", "identity@8 answer"),
        ("identity@8 every=2", "identity@8 every=2"),
        ("identity@8 every=1", "identity@8"),
        ("identity@8 every=3  run =2", "identity@8 every=3 run=2"),
        ("identity@8 every=1 run=4", "identity@8"),
        ("identity@8 keys", "identity@8 keys"),
        ("identity@8 values last", "identity@8 values last"),
        ("identity@8 kv every=3", "identity@8 kv every=3"),
    ],
)
def test_texts_and_their_canonical_form(text: str, canonical: str) -> None:
    """Spaces, order and names are free; every parameter stands in the canonical text, once."""
    assert canonical == str(parse(text))
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("gausian(0.1)@8", "'gausian' (character 1)", "is no step: give one of identity, gaussian"),
        ("gaussian@8", "'gaussian' (character 1)", "needs sigma="),
        ("gaussian(0)@8", "'0' (character 10)", "a number above 0, such as 0.1 or 0.1 rel"),
        ("gaussian(-1)@8", "'-1' (character 10)", "a number above 0"),
        ("gaussian(big)@8", "'big' (character 10)", "a number"),
        ("gaussian(1e999)@8", "'1e999'", "is not accepted as sigma"),
        ("gaussian(0.1, 0.2)@8", "'0.2' (character 15)", "is too much: gaussian takes sigma"),
        ("gaussian(0.1, sigma=0.2)@8", "'0.2'", "gives sigma again"),
        ("gaussian(bits=2)@8", "'bits'", "is no parameter of gaussian: it takes sigma"),
        ("permute(3)@8", "'3'", "permute takes nothing"),
        ("round(bits=1)@8", "'1'", "an integer from 2 to 16"),
        ("round(bits=17)@8", "'17'", "an integer from 2 to 16"),
        ("round(bits=4.5)@8", "'4.5'", "an integer from 2 to 16"),
        ("round(bits=4 rel)@8", "'4'", "an integer from 2 to 16"),
        ("topk(0)@8", "'0'", "above 0 and below 1"),
        ("topk(1)@8", "'1'", "above 0 and below 1"),
        ("lowrank(0, 1)@8", "'0'", "an integer from 1"),
        ("rotate(seed=-1)@8", "'-1'", "an integer from 0"),
        ("cast(int8)@8", "'int8'", "one of bf16, fp16, fp8"),
        ("round(4", "its end", "stands where , or ) should"),
        ("round(4)", "its end", "stands where | and a step, or @ and a layer, should"),
        ("round(4)@", "its end", "is no layer: give an integer or norm"),
        ("round(4)@all", "'all' (character 10)", "is no layer"),
        ("round(4)@1.5", "'1.5'", "is no layer"),
        (
            "round(4)@8 first",
            "'first' (character 12)",
            "is too much: a release ends with its place",
        ),
        ("round(4)@8 every", "its end", "stands where = should"),
        ("round(4)@8 every=0", "'0'", "an integer from 1"),
        ("round(4)@8 every=2 run", "its end", "stands where = should: write run=2"),
        ("round(4)@8 keys kv", "'kv'", "is too much"),
        ("round(4)@8@9", "'@'", "is too much"),
        ("|round(4)@8", "'|'", "is no step"),
        ("round(4);@8", "';' (character 9)", "is no part of a release"),
        ("rotate(seed=1=2)@8", "'='", "stands where , or ) should"),
    ],
)
def test_errors_point_at_the_place_and_show_the_grammar(text: str, at: str, said: str) -> None:
    """The text, where it is wrong, what is accepted there, and the whole grammar."""
    with pytest.raises(OptionError, match=re.escape(at)) as error:
        parse(text)
    assert repr(text) in str(error.value)
    assert said in str(error.value)
    assert str(error.value).endswith(GRAMMAR)


@pytest.mark.parametrize("nothing", ["", "  ", None, 4, ["identity@4"]])
def test_what_is_no_text_is_refused(nothing: object) -> None:
    """With the grammar."""
    with pytest.raises(OptionError, match="is no release: give"):
        parse(nothing)


def test_the_grammar_shown_can_be_used() -> None:
    """Every step and place of it is accepted, and every step there is stands in it."""
    steps, places = re.findall(r"steps (.*), and places (.*)$", GRAMMAR)[0]
    shown = re.findall(r"\w+(?:\([^)]*\))?", steps)
    assert set(STEPS) == {step.partition("(")[0] for step in shown}
    for step in shown:
        for place in places.split(", "):
            parse(f"{step}@{place}")


# Plain data: what is built of it inside a strategy would be checked by beartype, which draws lots.
_STEPS = st.one_of(
    st.just(("identity",)),
    st.just(("permute",)),
    st.tuples(st.just("gaussian"), st.integers(1, 10**6), st.booleans()),
    st.tuples(st.just("round"), st.integers(2, 16)),
    st.tuples(st.just("rotate"), st.integers(0, 10**6), st.sampled_from(["secret", "known"])),
)
_PLACES = st.tuples(
    st.one_of(st.integers(-99, 99), st.just("norm")),
    st.sampled_from(["states", "keys", "values", "kv"]),
    st.integers(1, 9),
)


def _step(name: str, *given: Any) -> StepSpec:
    if name == "gaussian":
        return StepSpec(name, (("sigma", Amount(given[0] / 1000, given[1])),))
    named = {"round": ("bits",), "rotate": ("seed", "key")}.get(name, ())
    return StepSpec(name, tuple(zip(named, given, strict=True)))


@given(st.lists(_STEPS, min_size=1, max_size=4), _PLACES)
def test_the_canonical_text_is_read_back(steps: list[Any], place: Any) -> None:
    """For any release, the canonical text is read as the same release."""
    spec = ReleaseSpec(tuple(_step(*one) for one in steps), Place(*place))
    assert spec == parse(str(spec))


@given(st.text(alphabet="gaussianroundtopk()=,|@ 0123456789.-relkvlast", max_size=40))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """An OptionError is the only error."""
    try:
        spec = parse(text)
    except OptionError:
        return
    assert spec == parse(str(spec))


def test_a_sweep_has_one_place_for_its_strength() -> None:
    """``?`` once; none or two are refused."""
    assert "gaussian(sigma=0.5 rel)@4" == filled("gaussian(sigma=? rel)@4", 0.5)
    for text in ("gaussian(sigma=1)@4", "round(bits=?)|gaussian(?)@4"):
        with pytest.raises(OptionError, match="write one"):
            filled(text, 1)


def test_the_name_of_a_release_is_its_steps() -> None:
    """The place is left out."""
    assert "round(bits=4)|permute" == parse("round(4)|permute@3").name


def test_a_release_is_the_identity_if_every_step_is() -> None:
    """One other step is enough for it not to be."""
    assert parse("identity|identity@1").is_identity
    assert not parse("identity|permute@1").is_identity


def test_a_place_can_be_read_alone() -> None:
    """It is that of a release, and ends where the text ends."""
    assert parse("identity@4 kv every=2").place == parse_place("4 kv every=2")
    with pytest.raises(OptionError, match="is no layer: give an integer or norm"):
        parse_place("all")
    with pytest.raises(OptionError, match="is too much"):
        parse_place("4 kv|permute")


def test_the_value_of_a_parameter_has_its_type() -> None:
    """A module of a step that expects another type than its row gives is a mistake of ours."""
    (step,) = parse("round(4)@1").steps
    assert 4 == step.value("bits", int)
    with pytest.raises(TypeError, match="bits is a int, not str"):
        step.value("bits", str)
