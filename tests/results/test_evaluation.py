"""Results files of lm-evaluation-harness: scores, tasks that are part of others, what is comparable."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.results.evaluation import read_evaluation, unlike

RESULTS: dict[str, Any] = {
    "results": {
        "arc_easy": {
            "alias": "arc_easy",
            "acc,none": 0.6,
            "acc_stderr,none": 0.01,
            "acc_norm,none": 0.5,
            "acc_norm_stderr,none": "N/A",
            "sample_len": 100,
        },
        "wikitext": {"word_perplexity,none": 12.5, "word_perplexity_stderr,none": "N/A"},
        "mmlu_anatomy": {"acc,none": 0.4, "acc_stderr,none": 0.04, "alias": " - anatomy"},
    },
    "groups": {"mmlu": {"acc,none": 0.45, "acc_stderr,none": 0.004, "alias": "mmlu"}},
    "group_subtasks": {
        "mmlu": ["mmlu_stem"],
        "mmlu_stem": ["mmlu_anatomy"],
        "arc": ["arc_easy"],
        "wikitext": [],
    },
    "configs": {"arc_easy": {"num_fewshot": 0}},
    "versions": {"arc_easy": 1.0, "wikitext": 2.0, "mmlu_anatomy": 1.0, "mmlu": 2},
    "n-shot": {"arc_easy": 0, "wikitext": 0, "mmlu_anatomy": 5},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 2376}},
    "higher_is_better": {
        "arc_easy": {"acc": True, "acc_norm": True},
        "wikitext": {"word_perplexity": False},
        "mmlu": {"acc": True},
        "mmlu_anatomy": {"acc": None},
    },
    "config": {"model": "hf", "model_args": "pretrained=a", "limit": None, "fewshot_seed": 1234},
    "chat_template": "",
    "chat_template_sha": None,
    "fewshot_as_multiturn": False,
}


def written(path: Path, **changes: Any) -> Path:
    """A results file with other entries."""
    path.write_text(json.dumps({**RESULTS, **changes}))
    return path


def with_model(path: Path, name: str, **changes: Any) -> Path:
    """A results file on another model."""
    config = {**RESULTS["config"], "model_args": f"pretrained={name}", **changes.pop("config", {})}
    return written(path, config=config, **changes)


def test_scores_have_a_standard_error_and_a_direction(tmp_path: Path) -> None:
    """``N/A`` is none; a direction that the file does not say is known of common metrics."""
    found = read_evaluation(written(tmp_path / "r.json"))
    acc = found.scores["arc_easy", "acc,none"]
    assert (0.6, 0.01, True) == (acc.value, acc.stderr, acc.higher)
    assert found.scores["arc_easy", "acc_norm,none"].stderr is None
    perplexity = found.scores["wikitext", "word_perplexity,none"]
    assert (12.5, None, False) == (perplexity.value, perplexity.stderr, perplexity.higher)
    assert found.scores["mmlu_anatomy", "acc,none"].higher is True
    assert 5 == len(found.scores)
    assert "hf pretrained=a" == found.model


def test_a_group_with_scores_stands_for_its_tasks(tmp_path: Path) -> None:
    """At any depth, also where groups name each other; a group without scores of its own does not."""
    found = read_evaluation(written(tmp_path / "r.json"))
    assert ["arc_easy", "arc_easy", "wikitext", "mmlu"] == [task for task, _ in found.whole]
    circle = {"mmlu": ["a"], "a": ["mmlu_anatomy", "mmlu"]}
    again = read_evaluation(written(tmp_path / "r.json", group_subtasks=circle))
    assert found.whole == again.whole


def test_numbers_that_are_not_finite_are_scores(tmp_path: Path) -> None:
    """The harness writes NaN where a model gives no number: it is read, and is no standard error."""
    results = {"a": {"acc,none": math.nan, "acc_stderr,none": math.nan, "f1,x": math.inf}}
    found = read_evaluation(written(tmp_path / "r.json", results=results, groups={}))
    assert math.isnan(found.scores["a", "acc,none"].value)
    assert found.scores["a", "acc,none"].stderr is None
    assert math.isinf(found.scores["a", "f1,x"].value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"versions": {**RESULTS["versions"], "arc_easy": 2.0}},
            "versions of arc_easy: 2.0, of the reference 1.0",
        ),
        ({"n-shot": {**RESULTS["n-shot"], "arc_easy": 5}}, "n-shot of arc_easy: 5"),
        (
            {"n-samples": {"arc_easy": {"original": 2376, "effective": 9}}},
            'n-samples of arc_easy: {"effective": 9',
        ),
        ({"config": {"limit": 10}}, "limit: 10, of the reference not said"),
        ({"config": {"fewshot_seed": 1}}, "fewshot_seed: 1, of the reference 1234"),
        ({"chat_template_sha": "ab12"}, "chat_template_sha: ab12, of the reference not said"),
        ({"fewshot_as_multiturn": True}, "fewshot_as_multiturn: true"),
        ({"groups": {}}, "scores of the model lack mmlu acc,none"),
        (
            {"results": {**RESULTS["results"], "new": {"acc,none": 1.0}}},
            "scores of the reference lack new acc,none",
        ),
    ],
)
def test_scores_taken_otherwise_are_not_comparable(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The setting is named with both values."""
    child = read_evaluation(with_model(tmp_path / "child.json", "b", **changes))
    parent = read_evaluation(written(tmp_path / "parent.json"))
    assert any(said in one for one in unlike(child, parent))


def test_scores_taken_alike_are_comparable(tmp_path: Path) -> None:
    """The model's name is not a setting, but two files on one model compare nothing."""
    parent = read_evaluation(written(tmp_path / "parent.json"))
    assert () == unlike(read_evaluation(with_model(tmp_path / "child.json", "b")), parent)
    assert ("both files evaluate the same model, hf pretrained=a",) == unlike(parent, parent)


def test_many_differences_are_cut(tmp_path: Path) -> None:
    """Six are named."""
    many = {f"task{at}": {"acc,none": 0.5} for at in range(99)}
    child = read_evaluation(with_model(tmp_path / "c.json", "b", results=many, groups={}))
    found = unlike(child, read_evaluation(written(tmp_path / "p.json")))
    assert 7 == len(found)
    assert "… and 106 more differences" == found[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged, cut short or no JSON"),
        ("[]", "which is no JSON object"),
        ("{}", "results names no task"),
        ('{"results": []}', "results is no JSON object"),
        ('{"results": {"a": 1}}', "results.a is no JSON object"),
        ('{"results": {"a": {"acc": 0.5}}}', "no task has a metric such as acc,none"),
        ('{"results": {"a": {"acc,none": true}}}', "no task has a metric"),
        ('{"results": {"a": {"acc,none": "0.5"}}}', "no task has a metric"),
        ('{"results": {"a": {"acc,none": 1, "acc,none": 2}}}', "is there twice"),
        ('{"results": {"a": {"acc,none": 1}}, "versions": 3}', "versions is no JSON object"),
        ("[" * 100_000, "damaged, cut short or no JSON"),
    ],
)
def test_what_is_no_results_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """By its name, with what is accepted."""
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(OptionError, match=f"r.json: .*{message}.*: give a results file"):
        read_evaluation(path)


def test_hostile_names_are_short_and_harmless(tmp_path: Path) -> None:
    """A task's name and a number beyond all floats come from anybody."""
    results = {"\x1b[31m" + "a" * 9999: {"acc,none": 10**400, "f1_stderr,none": 3, "f1,none": 1}}
    changes = {
        "versions": {name: ["##[x]" * 999] for name in results},
        "higher_is_better": {"a": 1},
    }
    found = read_evaluation(written(tmp_path / "r.json", results=results, groups={}, **changes))
    other = read_evaluation(with_model(tmp_path / "other.json", "b"))
    tasks = [task for task, _ in (*found.whole, *found.settings)]
    shown = [*tasks, *unlike(found, other)]
    assert len(shown) > 3
    assert max(map(len, shown)) < 250
    assert not any("\x1b" in one or "##[" in one for one in shown)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(OptionError, match=r"none\.json: there is no such file"):
        read_evaluation(tmp_path / "none.json")


def test_a_folder_with_one_results_file_is_read(tmp_path: Path) -> None:
    """The harness writes it into a folder named after the model; of several one has to be named."""
    with pytest.raises(OptionError, match="this folder has 0 results files: name one"):
        read_evaluation(tmp_path)
    (tmp_path / "my__model").mkdir()
    written(tmp_path / "my__model" / "results_2026-11-29T17-00-00.json")
    assert "results_2026-11-29T17-00-00.json" == read_evaluation(tmp_path).source
    written(tmp_path / "results_2026-11-29T18-00-00.json")
    with pytest.raises(OptionError, match=r"this folder has 2 results files \(results_"):
        read_evaluation(tmp_path)


def test_what_the_harness_was_told_to_write_to_is_read(tmp_path: Path) -> None:
    """It adds the date to the name of a file; of several one has to be named."""
    asked = tmp_path / "child.json"
    with pytest.raises(OptionError, match=r"child\.json: there is no such file: give"):
        read_evaluation(asked)
    written(tmp_path / "child_2026-11-29T21-03-35.088574.json")
    assert "child_2026-11-29T21-03-35.088574.json" == read_evaluation(asked).source
    written(tmp_path / "child_2026-11-30T21-03-35.088574.json")
    with pytest.raises(OptionError, match=r"names with a date 2 results files \(child_2026-11-29T"):
        read_evaluation(asked)


def test_samples_are_no_scores(tmp_path: Path) -> None:
    """The harness writes both files into one folder."""
    with pytest.raises(
        OptionError, match="it holds samples of a task; the scores are in the results"
    ):
        read_evaluation(tmp_path / "samples_arc_easy_2026-11-29T21-03-35.088574.jsonl")


def test_a_group_stands_for_the_metrics_that_it_has(tmp_path: Path) -> None:
    """Another metric of its tasks is a score of its own."""
    anatomy = {**RESULTS["results"]["mmlu_anatomy"], "acc_norm,none": 0.5}
    results = {**RESULTS["results"], "mmlu_anatomy": anatomy}
    found = read_evaluation(written(tmp_path / "r.json", results=results))
    assert ("mmlu_anatomy", "acc_norm,none") in found.whole
    assert ("mmlu_anatomy", "acc,none") not in found.whole


def test_hashes_and_lengths_that_one_file_lacks_are_no_difference(tmp_path: Path) -> None:
    """The harness writes hashes with ``--log_samples`` alone; where both have one they must agree."""
    changes = {"task_hashes": {"arc_easy": "x"}, "max_length": 256}
    child = read_evaluation(with_model(tmp_path / "child.json", "b", **changes))
    assert () == unlike(child, read_evaluation(written(tmp_path / "parent.json")))
    other = {"task_hashes": {"arc_easy": "y"}, "max_length": 512}
    found = unlike(child, read_evaluation(written(tmp_path / "parent.json", **other)))
    assert (
        "max_length: 256, of the reference 512",
        "task_hashes of arc_easy: x, of the reference y",
    ) == (tuple(one.removeprefix("evaluations differ: ") for one in found))


def test_models_are_told_apart_by_all_of_their_arguments(tmp_path: Path) -> None:
    """Newer versions write an object; paths may begin alike."""
    folder = "a/" * 400
    pair = [
        read_evaluation(
            written(
                tmp_path / f"{name}.json",
                config={
                    "model": "hf",
                    "model_args": {"pretrained": folder + name, "dtype": "float32"},
                },
            )
        )
        for name in ("b", "c")
    ]
    assert f"hf pretrained={folder}b,dtype=float32" == pair[0].model
    assert () == unlike(*pair)


def test_evaluations_of_some_tasks_have_what_is_in_them(tmp_path: Path) -> None:
    """Scores and settings of a group's tasks, and the settings of the run."""
    found = read_evaluation(written(tmp_path / "r.json")).of(["mmlu"])
    assert {"mmlu", "mmlu_anatomy"} == {task for task, _ in found.scores}
    assert {"", "mmlu", "mmlu_anatomy"} == {task for _, task in found.settings}


REAL = Path(__file__).parent / "lm_eval"
"""What lm-evaluation-harness 0.4.13 wrote, offline on a CPU, of a GPT-2 of a million parameters and of
the same with its blocks rounded to 4 bits (`testing.round_weights`): ``lm_eval --model hf --model_args
pretrained=MODEL,dtype=float32 --include_path tasks --tasks local_all --device cpu --batch_size 8
--log_samples --output_path MODEL``. The tasks are files of our own over local JSON lines, 60 texts each:
two of multiple choice in a group that averages them, perplexity of texts, likelihood of the last word,
and the last word generated, with two filters; ``local_all`` is a group without scores. The environment,
the dates and most of the tasks' configurations are left out."""


def test_what_the_harness_writes_is_read() -> None:
    """From its folders: groups, filters, ``N/A`` for standard errors, directions, hashes of tasks."""
    child, parent = (read_evaluation(REAL / name) for name in ("child", "parent"))
    assert "hf pretrained=child,dtype=float32" == child.model
    assert () == unlike(child, parent)
    assert 12 == len(child.scores)
    assert [
        ("local_choice_a", "acc_norm,none"),
        ("local_choice_b", "acc_norm,none"),
        ("local_text", "word_perplexity,none"),
        ("local_text", "byte_perplexity,none"),
        ("local_text", "bits_per_byte,none"),
        ("local_last", "perplexity,none"),
        ("local_last", "acc,none"),
        ("local_answer", "exact_match,strict"),
        ("local_answer", "exact_match,flexible"),
        ("local_choice", "acc,none"),
    ] == list(child.whole)
    assert child.scores["local_text", "bits_per_byte,none"].stderr is None
    assert child.scores["local_last", "perplexity,none"].higher is False
    assert 5 == sum(name == "task_hashes" for name, _ in child.settings)
