"""Figure 6 from an untrained model: the whole command, and claims that then fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.attention import AttentionMap
from rmtscale.study.figures.figure_6.claims import check_claims
from rmtscale.study.figures.figure_6.drawing import Heatmap, condensed
from rmtscale.study.figures.figure_6.sample import FACTS_IN, find_sample, measure
from rmtscale.study.figures.memory_tasks.recipes import recipes
from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.layout import LAST
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import export_checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.command_line import Command
from tests.tiny_training import write_background

pytestmark = pytest.mark.usefixtures("unpainted")
Runs = tuple[Path, Path]
RECIPE = "quick-reasoning-0"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A folder in which the training counts as done."""
    background = write_background(tmp_path_factory.mktemp("text"))
    folder = tmp_path_factory.mktemp("runs")
    settings = replace(recipes(str(background))[RECIPE], vocabulary_words=120)
    data = TaskData(settings)
    answerer = Answerer(build_rmt(settings, len(data.vocabulary), 6), class_ids(data))
    trained = Trained(step=0, stage="none", segments=1)
    export_checkpoint(folder / RECIPE / LAST, answerer, settings, data, trained)
    return folder, background


def test_the_command(rmtscale: Command, runs: Runs, tmp_path: Path) -> None:
    folder, background = runs
    out = tmp_path / "out"
    given = ["--quick", "--runs", str(folder), "--background", str(background), "--device", "cpu"]
    done = rmtscale("reproduce", "figure-6", *given, "--out", str(out))
    assert done.code == 1, done.err
    assert "4 of 4 claims do not hold" in done.err
    assert {path.name for path in out.iterdir()} == {
        "figure-6.png",
        "figure-6.svg",
        "figure-6.csv",
        "README.md",
    }
    assert (out / "figure-6.csv").read_text().count("\n") == 1 + 7
    assert "Right is" in (out / "README.md").read_text()


def test_the_sample_has_its_facts_where_the_figure_has_them(runs: Runs) -> None:
    _, background = runs
    settings = replace(recipes(str(background))[RECIPE], vocabulary_words=120)
    data = TaskData(settings)
    sample = find_sample(data, 44)
    words = data.vocabulary.decode(sample.ids.tolist())
    for fact, segment in zip(sample.facts, FACTS_IN, strict=True):
        assert fact.start // 44 == segment
        assert " ".join(words[at] for at in fact) in {
            " ".join(data.vocabulary.decode(data.vocabulary.encode(text)))
            for text in data.task.all_facts()
        }
    assert words[sample.question.stop - 1] == "?"


def test_claims_hold_where_heads_look(runs: Runs) -> None:
    """Attention made by hand: one head looks at the fact and at the memory read."""
    _, background = runs
    settings = replace(recipes(str(background))[RECIPE], vocabulary_words=120)
    data = TaskData(settings)
    answerer = Answerer(build_rmt(settings, len(data.vocabulary), 6), class_ids(data))
    reader = Reader(answerer, torch.device("cpu"))
    sample = find_sample(data, 44)
    looks = []
    for segment in range(4):
        weights = np.full((1, 2, 48, 48), 1 / 48, dtype=np.float32)
        if segment in FACTS_IN:
            fact = sample.facts[FACTS_IN.index(segment)]
            weights[0, 1, 46:, 2 + fact.start - 44 * segment] = 0.5
        else:
            weights[0, 0, 45:, :2] = 0.2
        labels = tuple(str(at) for at in range(48))
        looks += measure(reader, AttentionMap(segment, labels, weights), sample)
    claims = check_claims(looks)
    assert [claim.outcome for claim in claims] == ["pass"] * 4
    assert [claim.text for claim in claims] == [
        "segment 1, written memory looks at the fact",
        "segment 2, written memory looks at the memory read",
        "segment 3, written memory looks at the fact",
        "segment 4, answer looks at the memory read",
    ]


def test_segments_without_room(runs: Runs) -> None:
    _, background = runs
    settings = replace(recipes(str(background))[RECIPE], vocabulary_words=120)
    with pytest.raises(BadInput, match="segments of 17 tokens: expected room for a fact"):
        find_sample(TaskData(replace(settings, task_options={"placement": "start"})), 17)


def test_it_is_made_of_no_records(rmtscale: Command, tmp_path: Path) -> None:
    done = rmtscale("reproduce", "figure-6", "--records", str(tmp_path / "x.jsonl"))
    assert (done.code, "is not made from records, expected figure-4" in done.err) == (2, True)


def test_a_long_segment_is_put_together() -> None:
    """Cell by cell in slow loops; what is looked at is the same, and rows sum to 1."""
    count, memory, fact = 150, [0, 1, 148, 149], range(70, 78)
    weights = np.random.default_rng(0).random((count, count))
    weights /= weights.sum(1, keepdims=True)
    labels = [f"w{at}" for at in range(count)]
    given = Heatmap("title", labels, weights, [fact], memory)
    found = condensed(given)
    cells = [[0], [1]]
    cells += [list(range(2, 34)), list(range(34, 66)), list(range(66, 70))]
    cells += [[at] for at in fact]
    cells += [list(range(78, 110)), list(range(110, 142)), list(range(142, 148)), [148], [149]]
    assert found.weights.shape == (len(cells), len(cells))
    for row, queries in enumerate(cells):
        for column, keys in enumerate(cells):
            expected = sum(weights[q, k] for q in queries for k in keys) / len(queries)
            assert found.weights[row, column] == pytest.approx(expected)
    np.testing.assert_allclose(found.weights.sum(1), 1)
    assert [found.labels[at] for at in found.memory] == ["w0", "w1", "w148", "w149"]
    (marked,) = found.marked
    assert [found.labels[at] for at in marked] == [f"w{at}" for at in fact]
    assert found.labels[2] == "32 words"
    assert found.labels[4] == "4 words"
    short = Heatmap("title", labels[:64], weights[:64, :64])
    assert condensed(short) is short


def test_of_a_checkpoint(rmtscale: Command, runs: Runs, tmp_path: Path) -> None:
    """Nothing is trained; the same files as of a training."""
    folder, background = runs
    kept = str(folder / RECIPE / LAST)
    given = ["--checkpoint", kept, "--background", str(background), "--device", "cpu"]
    done = rmtscale("reproduce", "figure-6", *given, "--out", str(tmp_path / "one"))
    assert done.code == 1, done.err
    more = ["--quick", "--runs", str(folder), "--background", str(background), "--device", "cpu"]
    rmtscale("reproduce", "figure-6", *more, "--out", str(tmp_path / "two"))
    for name in ("README.md", "figure-6.csv"):
        one, two = ((tmp_path / made / name).read_text() for made in ("one", "two"))
        assert one.replace(f" --checkpoint {kept}`", "`") == two
    other = rmtscale("reproduce", "figure-4", "--checkpoint", kept)
    assert (other.code, other.err.strip()) == (
        2,
        "error: --checkpoint with figure-4: expected figure-6",
    )
