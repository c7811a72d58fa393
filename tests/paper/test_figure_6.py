"""Figure 6 from an untrained model: the whole command, and claims that then fail."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.attention import AttentionMap, attention_maps, places
from rmtscale.study.evaluation.evaluate import data_of
from rmtscale.study.figures.figure_6.claims import Look, check_claims
from rmtscale.study.figures.figure_6.drawing import Heatmap, condensed
from rmtscale.study.figures.figure_6.page import measure
from rmtscale.study.figures.figure_6.sample import FACTS_IN, find_sample, title
from rmtscale.study.figures.memory_tasks.recipes import recipes
from rmtscale.study.training.checkpoint import Trained
from rmtscale.study.training.layout import LAST
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import (
    before_training,
    export_checkpoint,
    load_checkpoint,
)
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.command_line import Command
from tests.study.training.test_training_pretrained import save_model
from tests.tiny_training import tiny_settings, write_background

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
    for fact, segment in zip(sample.parts["fact"], FACTS_IN[2], strict=True):
        assert fact.start // 44 == segment
        assert " ".join(words[at] for at in fact) in {
            " ".join(data.vocabulary.decode(data.vocabulary.encode(text)))
            for text in data.task.all_facts()
        }
    (question,) = sample.parts["question"]
    assert " ".join(words[at] for at in question) in {
        " ".join(data.vocabulary.decode(data.vocabulary.encode(text)))
        for text in data.task.all_questions()
    }
    assert question.stop == len(sample.ids)


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
        if segment in FACTS_IN[2]:
            fact = sample.parts["fact"][FACTS_IN[2].index(segment)]
            weights[0, 1, 46:, 2 + fact.start - 44 * segment] = 0.5
        else:
            weights[0, 0, 45:, :2] = 0.2
        labels = tuple(str(at) for at in range(48))
        looks += measure(reader, AttentionMap(segment, labels, weights), None, sample)
    claims = check_claims(looks)
    assert [claim.outcome for claim in claims] == ["pass"] * 4
    assert [claim.text for claim in claims] == [
        "segment 1, written memory looks at the fact",
        "segment 2, written memory looks at the memory read",
        "segment 3, written memory looks at the fact",
        "segment 4, answer looks at the memory read",
    ]


@pytest.mark.parametrize("task", ["memorize", "detect-memorize"])
def test_a_task_of_one_fact(runs: Runs, task: str) -> None:
    """It stands in the first segment, and in the third none does."""
    _, background = runs
    settings = replace(recipes(str(background))[RECIPE], vocabulary_words=120, task=task)
    (fact,) = find_sample(TaskData(settings), 44).parts["fact"]
    assert fact.stop <= 44
    assert [title(segment, 1).split(":")[0] for segment in range(4)] == [
        "a fact",
        "no fact",
        "no fact",
        "the question",
    ]


def test_a_task_of_more_facts(runs: Runs) -> None:
    _, background = runs
    settings = replace(
        recipes(str(background))[RECIPE], vocabulary_words=120, task_options={"distractors": 1}
    )
    with pytest.raises(BadInput, match="stories of 3 facts: expected a task of one or two"):
        find_sample(TaskData(settings), 44)


@pytest.mark.parametrize(
    ("share", "before", "outcome"),
    [
        (0.10, None, "pass"),
        (0.03, None, "fail"),
        (0.03, 0.001, "fail"),
        (0.10, 0.06, "fail"),
        (0.10, 0.05, "pass"),  # odds of 1 to 9 and of 1 to 19
        (0.80, 0.67, "fail"),
        (0.80, 0.66, "pass"),
        (1.00, 0.99, "pass"),
        (1.00, 1.00, "fail"),
    ],
)
def test_what_pretrained_weights_look_at_anyway_is_not_seen(
    share: float, before: float | None, outcome: str
) -> None:
    """Twice an even share of 2 %, and twice the odds before training."""
    (claim,) = check_claims([Look(1, "memory", "memory", share, 0.02, before)], "An encoder: ")
    assert (claim.text, claim.outcome) == ("An encoder: segment 2, memory looks at memory", outcome)
    assert ("before training" in claim.ours) == (before is not None)


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
    given = Heatmap("title", labels, weights, [fact], memory, [2])
    found = condensed(given)
    cells = [[0], [1], [2]]
    cells += [list(range(3, 35)), list(range(35, 67)), list(range(67, 70))]
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
    assert [found.labels[at] for at in found.special] == ["w2"]
    assert found.labels[3] == "32 tokens"
    assert found.labels[5] == "3 tokens"
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
        f"error: --checkpoint {kept!r} with figure-4: expected figure-6",
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, runs: Runs) -> Runs:
    """A tiny BERT, and a checkpoint that stands on it: LoRA that adds something, another memory."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    save_model(folder / "bert", "bert")
    settings = tiny_settings(
        runs[1],
        task="detect-memorize",
        backbone=str(folder / "bert"),
        lora_rank=4,
        segment_size=48,
    )
    objective = MemoryObjective(settings)
    with torch.no_grad():
        for name, weight in objective.learner.named_parameters():
            if "lora_B" in name or "initial" in name:
                weight.normal_(std=0.5)
    trained = Trained(step=7, stage="2 segments", segments=2)
    export_checkpoint(folder / "kept", objective.learner, settings, objective.data, trained)
    return folder / "kept", folder / "bert"


def test_a_pretrained_encoder_beside_a_decoder(
    rmtscale: Command, runs: Runs, encoder: Runs, tmp_path: Path
) -> None:
    decoder, background = runs[0] / RECIPE / LAST, runs[1]
    kept, bert = encoder
    asked = ["reproduce", "figure-6", "--device", "cpu", "--background", str(background)]
    asked += ["--checkpoint", str(decoder), "--checkpoint", str(kept)]
    missing = rmtscale(*asked, "--out", str(tmp_path / "none"))
    assert missing.code == 2
    assert "has only what was trained: expected --backbone" in missing.err
    done = rmtscale(*asked, "--backbone", str(bert), "--out", str(tmp_path / "out"))
    assert done.code in (0, 1), done.err
    page = (tmp_path / "out" / "README.md").read_text()
    one, two = page.split("\n## ")[1:]
    assert one.startswith("Decoder from random initialisation, Reasoning, seed 0\n")
    # Not the recipe of such encoders, which has 10 memory tokens, fragments and no contrasts.
    recipe = "seed 0, 2 memory tokens, no fact fragments, contrast first"
    assert two.startswith(f"Pretrained encoder, Detect & Memorize, {recipe}\n")
    assert f"bert, frozen, with LoRA of rank 4, {recipe}, after 7 steps" in " ".join(two.split())
    assert ("behind [CLS]" in one, "behind [CLS]" in two) == (False, True)
    assert ("before training" in one, "before training" in two) == (False, True)
    claims = [line.split(" | ")[0][2:] for line in two.splitlines() if ": segment " in line]
    who = f"Pretrained encoder, Detect & Memorize, {recipe}: segment"
    assert claims == [
        f"{who} 1, memory looks at the fact",
        f"{who} 2, memory looks at memory",
        f"{who} 3, memory looks at memory",
        f"{who} 4, answer looks at memory",
    ]
    with (tmp_path / "out" / "figure-6.csv").open() as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["backbone"] == "bert"]
    assert {(row["query"], row["key"]) for row in own} == {
        ("memory", "memory"),
        ("memory", "fact"),
        ("answer", "memory"),
    }
    assert all(row["share_before_training"] for row in own)
    assert not any(row["share_before_training"] for row in rows if row not in own)


def test_shares_of_an_encoder_are_those_of_its_modules(runs: Runs, encoder: Runs) -> None:
    """By hand, segment after segment: what comes out at the memory is the next one's, and what
    stood there before training is read by plain pretrained weights."""
    kept, bert = encoder
    checkpoint = load_checkpoint(kept, backbone=str(bert))
    data = data_of(checkpoint, str(runs[1]))
    sample = find_sample(data, 48 - 2 - 3)
    (fact,) = sample.parts["fact"]
    begun = before_training(checkpoint, str(bert))
    plain = BertForSequenceClassification.from_pretrained(bert, attn_implementation="eager")
    for answerer, backbone in ((checkpoint.answerer, None), (begun, plain.bert)):
        reader = Reader(answerer, torch.device("cpu"))
        maps = attention_maps(reader, data.vocabulary, sample.ids)
        looks = [look for one in maps for look in measure(reader, one, None, sample)]
        rmt: Any = answerer.rmt
        rmt.backbone.set_attn_implementation("eager")
        inner = rmt.backbone.bert if backbone is None else backbone
        words = inner.embeddings.word_embeddings
        memory = rmt.memory.initial_ME
        cls, sep = (words(torch.tensor([one])) for one in (2, 3))
        found = {(look.segment, look.query, look.key): look for look in looks}
        for segment in range(4):
            ids = torch.from_numpy(sample.ids[43 * segment : 43 * (segment + 1)]).long()
            embeds = torch.cat([cls, memory, sep, words(ids), sep])[None]
            with torch.no_grad():
                out = inner(inputs_embeds=embeds, output_attentions=True)
            memory = out.last_hidden_state[0, 1:3]
            heads = [layer[0, head].double() for layer in out.attentions for head in (0, 1)]
            expected = max(float(one[[1, 2]][:, [1, 2]].sum(1).mean()) for one in heads)
            where = places(answerer, 48)
            special = [maps[segment].labels[at] for at in where.special]
            assert special == ["[CLS]", "[SEP]", "[SEP]"]
            assert [maps[segment].labels[at] for at in where.write] == ["[mem 0]", "[mem 1]"]
            look = found[segment, "memory", "memory"]
            assert look.share == pytest.approx(expected, rel=1e-4)
            assert look.even == 2 / 48
            if segment == 0:
                columns = [4 + at for at in fact]
                expected = max(float(one[[1, 2]][:, columns].sum(1).mean()) for one in heads)
                assert found[0, "memory", "fact"].share == pytest.approx(expected, rel=1e-4)
        expected = max(float(one[0, [1, 2]].sum()) for one in heads)
        assert found[3, "answer", "memory"].share == pytest.approx(expected, rel=1e-4)


def test_a_backbone_without_a_checkpoint(rmtscale: Command, encoder: Runs) -> None:
    done = rmtscale("reproduce", "figure-6", "--backbone", str(encoder[1]))
    assert (done.code, done.err.strip()) == (
        2,
        f"error: --backbone {str(encoder[1])!r} with figure-6: expected --checkpoint with it",
    )


def test_a_checkpoint_of_another_task(rmtscale: Command, runs: Runs, tmp_path: Path) -> None:
    """BABILong's stories have facts of their own in any number."""
    settings = tiny_settings(runs[1], task="babilong", segment_size=160)
    data = TaskData(settings)
    answerer = Answerer(build_rmt(settings, len(data.vocabulary), 6), class_ids(data))
    trained = Trained(step=0, stage="none", segments=1)
    export_checkpoint(tmp_path / "kept", answerer, settings, data, trained)
    asked = [
        "--checkpoint",
        str(tmp_path / "kept"),
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    done = rmtscale("reproduce", "figure-6", *asked)
    assert done.code == 2
    assert "is of the task 'babilong': expected memorize, detect-memorize or reasoning" in done.err
