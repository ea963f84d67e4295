"""What holds for every attacker: an attacker that is added is tested here by its row in the registry."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy import attackers
from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Attack, Attacker, AttackSetting
from pytest_injectivity.privacy.attackers.embedding import EmbeddingAttacker
from pytest_injectivity.privacy.attackers.kv_collision import KvCollisionAttacker
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.attack import AttackCase, run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.privacy.releases.examples import known_beforehand, practised
from pytest_injectivity.privacy.releases.mean import MeanRelease
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts
from tests.repetitions import mostly_slow

VOCAB = 12
PROMPTS = drawn_prompts(3, 3, vocab=VOCAB)
PRACTICE = drawn_prompts(40, 3, vocab=VOCAB, seed=1)
KNOWN = drawn_prompts(10, 3, vocab=VOCAB, seed=2)
CHANNELS = [
    ("1", "identity"),
    ("1", "gaussian(sigma=0.5)"),
    ("1", "permute"),
    ("1", "rotate(seed=1)"),
    ("1", "permute_coordinates(seed=1)"),
    ("1", "rotate|permute"),
    ("1", "mix(over=positions)"),
    ("1", "mix(batch=3, shield=8)"),
    ("1", "mix(over=coordinates)"),
    ("1 kv", "identity"),
    ("1 last", "identity"),
    ("1 mean", "identity"),
    ("1 answer", "identity"),
    ("1 and 2", "same_noise(sigma=0.5)"),
    ("-1 cache", "identity"),
]
QUERIES = 4
PRUNING = {"argmin", "averaging", "ball", "fixed ball", "mahalanobis", "prior"}
BY_NAME = {one.name: one for one in ATTACKERS}
QUICK = (
    "argmin",
    "beam",
    "collision",
    "last-state inverter",
    "linear inverter",
    "mahalanobis",
    "span",
)
"""Those that the default run looks at in four repetitions; it runs every attacker in all other tests."""


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A model of few tokens: every attacker is run on it many times."""
    return tiny_decoder("llama", vocab=VOCAB)


@cache
def _another() -> Decoder:
    """A model with other weights."""
    return tiny_decoder("llama", vocab=VOCAB, seed=1)


@cache
def _channel(decoder: Decoder, place: str, release: str) -> Channel:
    found = case(decoder, place, [release], PROMPTS, practice=PRACTICE, known=KNOWN)
    one = found.releases[release]
    once = Channel(
        name=release,
        release=one,
        place=found.observed.place,
        nu=(1e-4,),
        released=found.observed.released(one, 0),
        lengths=tuple(map(len, PROMPTS)),
        sides=found.observed.sides,
        practice=practised(one, found.practice, 0),
        known=known_beforehand(one, found.known, 0),
    )
    mean = MeanRelease(one, QUERIES)
    averaged = replace(once, release=mean, released=found.observed.released(mean, 0))
    return replace(once, averaged=averaged)


@cache
def _sent(decoder: Decoder, place: str, release: str) -> AttackCase:
    """What is sent of the prompts, with prompts to learn from."""
    return case(decoder, place, [release], PROMPTS, practice=PRACTICE, known=KNOWN, queries=QUERIES)


def _fitting(attacker: Attacker, decoder: Decoder) -> list[tuple[str, str]]:
    """The first and the last channel that an attacker is made for: a plain one, and a further place."""
    found = [one for one in CHANNELS if attacker.fits(_channel(decoder, *one))]
    return list(dict.fromkeys((found[0], found[-1]))) if found else []


def _run(
    attacker: Attacker, decoder: Decoder, channel: tuple[str, str], sender: Decoder | None = None
) -> dict[tuple[str, str, bool], AttackResult]:
    sent = _sent(sender or decoder, *channel)
    return by_name(
        run_attacks(decoder, [sent], seed=0, attackers=(attacker,), free_running=2, keep_ids=True)
    )


@pytest.mark.parametrize("attacker", [EmbeddingAttacker, KvCollisionAttacker])
@pytest.mark.parametrize("block_elements", [1, 2 * VOCAB])
def test_blocks_change_no_answer(
    attacker: type[EmbeddingAttacker | KvCollisionAttacker], block_elements: int, decoder: Decoder
) -> None:
    """Attackers that compare rows by themselves do so in bounded memory."""
    blocked, whole = attacker(block_elements), attacker()
    fitting = _fitting(whole, decoder)
    assert fitting
    for channel in fitting:
        expected, found = (_run(one, decoder, channel) for one in (whole, blocked))
        assert [one.ids for one in expected.values()] == [one.ids for one in found.values()]


class _Tokenizer:
    """Knows the larger half of the ids: rows of the embedding below it are padding."""

    def get_vocab(self) -> dict[str, int]:
        """The ids by name."""
        return {str(token): token for token in range(VOCAB // 2, VOCAB)}

    def __call__(self, _text: str, **_settings: object) -> dict[str, list[int]]:
        """The ids of any text."""
        return {"input_ids": [VOCAB - 1]}


def _moved(prompts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """The prompts with every token in the larger half of the ids."""
    half = VOCAB // 2
    return tuple(tuple(token % half + half for token in ids) for ids in prompts)


@cache
def _padded() -> Decoder:
    """A model whose padding has the rows of its tokens."""
    half = VOCAB // 2
    decoder = tiny_decoder("llama", vocab=VOCAB, tokenizer=_Tokenizer())
    decoder.parts.embeddings.weight[:half] = decoder.parts.embeddings.weight[half:]
    return decoder


@cache
def _sent_of_the_larger_half(place: str, release: str) -> AttackCase:
    prompts = _moved(PROMPTS)
    # Half of the tokens make few prompts: some of practice would be some that are read.
    practice, known = (
        [ids for ids in _moved(some) if ids not in prompts] for some in (PRACTICE, KNOWN)
    )
    return case(
        _padded(), place, [release], prompts, practice=practice, known=known, queries=QUERIES
    )


@pytest.mark.parametrize("name", mostly_slow(BY_NAME, *QUICK))
def test_no_attacker_names_padding(name: str) -> None:
    """Not even rows of padding that equal a token's and have smaller ids."""
    attacker, decoder = BY_NAME[name], _padded()
    fitting = _fitting(attacker, decoder)
    assert fitting
    for place, release in fitting:
        sent = _sent_of_the_larger_half(place, release)
        found = run_attacks(decoder, [sent], seed=0, attackers=(attacker,), keep_ids=True)
        answers = {
            token for one in found for attack in one.attacks for ids in attack.ids for token in ids
        }
        assert not answers & set(range(VOCAB // 2))


def test_every_attacker_of_the_folder_has_a_row() -> None:
    """A class that has a name and a source is an attacker, one a file; none is left out."""
    modules = [
        import_module(f"{attackers.__name__}.{one.name}")
        for one in iter_modules(attackers.__path__)
    ]
    classes = {
        one
        for module in modules
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__ and isinstance(one.__dict__.get("source"), str)
    }
    assert len(classes) > 5
    assert classes == {type(one) for one in ATTACKERS}
    assert len(classes) == len({one.__module__ for one in classes})


def test_names_are_unique() -> None:
    """Reports tell attackers apart by name."""
    assert len(ATTACKERS) == len(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_attacker_says_what_it_is(name: str) -> None:
    """It has a name of one line, a source, and at least one way in which it is run."""
    attacker = BY_NAME[name]
    assert isinstance(attacker, Attacker)
    assert name.isprintable()
    assert attacker.source.isprintable()
    assert attacker.source.strip()
    assert attacker.teacher_forced or attacker.free_running


@pytest.mark.parametrize("name", BY_NAME)
def test_an_attacker_is_made_for_some_releases_and_not_for_all(name: str, decoder: Decoder) -> None:
    """Of releases that hide different things at different places."""
    fitting = _fitting(BY_NAME[name], decoder)
    assert 0 < len(fitting) < len(CHANNELS)


@pytest.mark.parametrize("name", BY_NAME)
def test_it_begins_an_attack_of_its_own_each_time(name: str, decoder: Decoder) -> None:
    """An attack follows the protocol, and two attacks of one attacker share no answers."""
    attacker = BY_NAME[name]
    channel = _channel(decoder, *_fitting(attacker, decoder)[0])
    found = attacker.begin(AttackSetting(decoder, channel, teacher_forced=True, seed=0))
    assert isinstance(found, Attack)


@pytest.mark.parametrize("name", mostly_slow(BY_NAME, *QUICK))
def test_results_have_the_shape_of_the_prompts(name: str, decoder: Decoder) -> None:
    """One answer a token that is a token or none, in each way that the attacker is run."""
    attacker = BY_NAME[name]
    channel = _fitting(attacker, decoder)[0]
    found = _run(attacker, decoder, channel)
    ways = [
        way for way in (True, False) if (attacker.teacher_forced, attacker.free_running)[not way]
    ]
    assert [(channel[1], name, way) for way in ways] == list(found)
    for (_, _, teacher_forced), one in found.items():
        read = 3 if teacher_forced else 2
        assert (3, 3) == one.right.shape == one.judged.shape == one.verified.shape
        assert [3] * read == [len(ids) for ids in one.ids]
        assert [[True] * 3] * read + [[False] * 3] * (3 - read) == one.judged.tolist()
        assert all(-1 <= token < decoder.vocab_size for ids in one.ids for token in ids)
        assert attacker.source == one.source


@pytest.mark.parametrize("name", mostly_slow(BY_NAME, *QUICK))
def test_an_attack_is_deterministic(name: str, decoder: Decoder) -> None:
    """Run twice on every kind of release it is made for, it gives the same answers."""
    attacker = BY_NAME[name]
    fitting = _fitting(attacker, decoder)
    assert fitting
    for channel in fitting:
        first, second = (_run(attacker, decoder, channel) for _ in range(2))
        assert {key: one.ids for key, one in first.items()} == {
            key: one.ids for key, one in second.items()
        }


@pytest.mark.parametrize("name", mostly_slow(BY_NAME, *QUICK))
def test_nothing_is_vouched_for_without_an_answer(name: str, decoder: Decoder) -> None:
    """Nor any answer about another model's states, in which no true token can be within reach."""
    attacker = BY_NAME[name]
    channel = _fitting(attacker, decoder)[0]
    own, other = (_run(attacker, decoder, channel, sender) for sender in (decoder, _another()))
    assert own
    assert all((one.right | ~one.verified).all() for one in own.values())
    assert {0.0} == {one.verified_rate for one in other.values()}


def test_a_release_that_nobody_is_made_for_has_no_attacks(decoder: Decoder) -> None:
    """That is no result of 0 %: a rate of nothing compared must not look like privacy."""
    sent = case(decoder, "1", ["rotate|permute"], PROMPTS)
    (found,) = run_attacks(decoder, [sent], seed=0, attackers=())
    assert () == found.attacks
    assert found.robustness is None


@pytest.mark.parametrize("name", [one.name for one in ATTACKERS if one.name in PRUNING])
def test_an_attack_that_prunes_looks_at_the_candidates_of_its_view(
    name: str, decoder: Decoder
) -> None:
    """The true token among few candidates is its answer where it is among all."""
    channel = _channel(decoder, "1", "gaussian(sigma=0.5)")
    attack = BY_NAME[name].begin(AttackSetting(decoder, channel, teacher_forced=True, seed=0))
    prefix = decoder.prefix(torch.empty(0, dtype=torch.long), 1)
    whole = OneStepTable(decoder, prefix, [channel.place])
    assert attack.prunes
    for prompt, ids in enumerate(PROMPTS):
        few = torch.tensor(sorted({ids[0], 1, 5}))
        states = decoder.candidates(prefix, few, [1])
        some = attack.look(ChannelView(whole.only(few, states), channel), [prompt]).tokens
        every = attack.look(ChannelView(whole, channel), [prompt]).tokens
        assert set(some.tolist()) <= {*few.tolist(), NO_TOKEN}
        assert int(some) == ids[0] or int(every) != ids[0]


@pytest.mark.parametrize("name", [one.name for one in ATTACKERS if one.name not in PRUNING])
def test_an_attack_that_needs_all_candidates_does_not_prune(name: str, decoder: Decoder) -> None:
    """It says so, and is shown the whole vocabulary."""
    attacker = BY_NAME[name]
    channel = _channel(decoder, *_fitting(attacker, decoder)[0])
    attack = attacker.begin(AttackSetting(decoder, channel, teacher_forced=True, seed=0))
    assert not attack.prunes
