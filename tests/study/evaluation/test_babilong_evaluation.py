"""BABILong evaluated from the command line, on a model that was trained for seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from rmtscale.study.evaluation import compiling
from rmtscale.study.evaluation.babilong import (
    BabilongSettings,
    batches,
    chosen,
    evaluate_babilong,
)
from rmtscale.study.evaluation.compiling import compiles
from rmtscale.study.evaluation.rmt_answers import RmtAnswers
from rmtscale.study.records.babilong import BabilongPoint, BabilongStore
from rmtscale.study.tasks.babi import pool
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.streamed import StreamedRows
from rmtscale.study.tasks.vocabulary import Vocabulary
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.command_line import Command
from tests.study.tasks.babi_files import write_files
from tests.study.tasks.story_solver import solve
from tests.tiny_training import write_background

TRAIN = (
    "--task babilong --stories qa1,qa2 --backbone gpt-neox-tiny --segment-size 132 --segments 2 "
    "--memory-tokens 2 --steps 8 --batch-size 8 --burn-in none --device cpu --set log_every=4 "
    "--set validate_every=8 --set validation_samples=8 --set stage_min_steps=2 "
    "--set stage_max_steps=2 --set warmup_steps=2 --set vocabulary_words=300 "
    "--set start_tokens=[64] --set between_share=0.5 --option ask_state=true"
).split()


@pytest.fixture(autouse=True)
def files(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    write_files(folder)
    write_background(folder / "text")
    monkeypatch.setenv("RMTSCALE_DATA", str(folder))
    monkeypatch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
    pool.load_pool.cache_clear()
    yield folder
    pool.load_pool.cache_clear()


class Solver:
    """A model that reads everything and answers by the rules; it has a constant in its place."""

    kind, weights, dead_band, training, compile_step = "rmt", "0" * 16, 0.0, None, False
    merged_lora = False

    def __init__(self, words: Vocabulary, wrong: str | None = None) -> None:
        self.words, self.wrong = words, wrong
        self.shapes: list[tuple[int, ...]] = []

    def prompt(self, asked: Asked) -> str:
        return asked.question

    def warm_up(self, batch_size: int) -> None:
        pass

    def answer(
        self, rows: StreamedRows, asked: Sequence[Asked], labels: Sequence[str]
    ) -> list[str | None]:
        del labels
        self.shapes.append(rows.shape)
        read = rows[:, 0 : rows.shape[1]]
        return [self.wrong or self._solved(ids, one) for ids, one in zip(read, asked, strict=True)]

    def _solved(self, ids: np.ndarray, asked: Asked) -> str:
        question = len(self.words.encode(asked.question))
        text = " ".join(self.words.decode(ids[:-question].tolist()))
        found = solve(f"{text} . {asked.question}".replace(" .", "."))
        names = {name.lower(): name for name in make_task("babilong").classes}
        return names[str(found)]


@pytest.fixture
def noise(files: Path) -> Noise:
    documents = load_background(str(files / "text"), "evaluation")
    words = make_task("babilong").words()
    return Noise(documents, Vocabulary.build(documents, 400, words))


def asked(**more: object) -> BabilongSettings:
    values = {"stories": ("qa1", "qa3"), "lengths": ("0k", "1k", "4k"), "batch_size": 7, **more}
    return BabilongSettings(**values)  # type: ignore[arg-type]


def test_who_follows_the_rules_is_always_right(noise: Noise, tmp_path: Path) -> None:
    words = noise.vocabulary
    assert isinstance(words, Vocabulary)
    model, store = Solver(words), BabilongStore(tmp_path / "records.jsonl")
    records = evaluate_babilong(model, noise, "text", asked(samples=30), store, device="cpu")
    assert [(one.point.stories, one.point.length) for one in records] == [
        (qa, length) for length in ("0k", "1k", "4k") for qa in ("qa1", "qa3")
    ]
    assert [one.accuracy for one in records] == [1.0] * 6
    assert [one.words for one in records] == [0, 0, 692, 692, 2768, 2768]
    tokens = round(692 * noise.tokens / noise.words)
    assert {shape for shape in model.shapes if shape[1] == tokens} == {(7, tokens)}
    lengths = pool.load_pool("qa3", "original", "test").lengths(words)
    assert records[3].left_out == (lengths > tokens).sum()
    assert all(one.tokens_per_second > 0 and one.seconds_per_sample > 0 for one in records)
    for one in records:
        assert one.breakdown is not None
        assert one.breakdown.depth.total == one.breakdown.facts_after.total == 30
        assert one.breakdown.depth.correct == one.breakdown.depth.samples
        # Whoever reads everything at once has no segments.
        assert one.breakdown.segments_after.total == 0
    seen: list[bool] = []
    again = evaluate_babilong(
        model,
        noise,
        "text",
        asked(samples=30),
        store,
        device="cpu",
        observe=lambda _, known: seen.append(known),
    )
    assert (again, seen) == (records, [True] * 6)
    wrong = evaluate_babilong(
        Solver(words, wrong="milk"), noise, "text", asked(samples=30, seed=1), store, device="cpu"
    )
    assert [one.correct for one in wrong] == [0] * 6
    assert not any(sum(one.breakdown.depth.correct) for one in wrong if one.breakdown)
    assert list(store.read().latest().values()) == [*records, *wrong]
    # All lengths of a command share when it began.
    began = [{one.evaluation_began_at for one in some} for some in (records, wrong)]
    assert [len(times) for times in began] == [1, 1]
    assert None not in began[0] | began[1]
    assert began[0] != began[1]


class Moody(Solver):
    """Answers a story wrongly where its facts and question say so, whoever stands beside it."""

    def answer(
        self, rows: StreamedRows, asked: Sequence[Asked], labels: Sequence[str]
    ) -> list[str | None]:
        del rows, labels
        return [one.answer if self.knows(one) else None for one in asked]

    @staticmethod
    def knows(asked: Asked) -> bool:
        return crc32(repr((asked.facts, asked.question)).encode()) % 3 > 0


def test_a_record_says_which_samples_were_right(noise: Noise, tmp_path: Path) -> None:
    """In one order at every length, so that of two readings the pairs are known."""
    words = noise.vocabulary
    assert isinstance(words, Vocabulary)
    found = {}
    for samples, batch_size in ((30, 7), (11, 4)):
        store = BabilongStore(tmp_path / f"{samples}.jsonl")
        settings = asked(samples=samples, batch_size=batch_size, lengths=("0k", "4k"))
        for one in evaluate_babilong(Moody(words), noise, "text", settings, store, device="cpu"):
            assert one.right is not None
            found[one.point.stories, one.point.length, samples] = one.right
            stories = pool.load_pool(one.point.stories, "original", "test")
            known = [Moody.knows(stories.asked[at]) for at in chosen(stories, noise, one.point)[0]]
            assert [int(digit) for digit in one.right] == known
            assert 0 < one.correct < samples
    for (qa, length, samples), right in found.items():
        assert right == found[qa, length, 30][:samples]


@pytest.mark.parametrize("length", ["0k", "1k"])
def test_a_smaller_reading_has_the_first_samples_of_a_larger_one(noise: Noise, length: str) -> None:
    """So that, of two of the same weights, the smaller one tells nothing that the larger does not:
    the same questions, in the same text, however many stand side by side."""
    few = BabilongPoint(
        stories="qa3",
        length=length,
        answers="classes",
        model="rmt",
        weights="0" * 16,
        background="text",
        samples=5,
        seed=0,
        precision="fp32",
        device="cpu",
    )
    many = replace(few, samples=12)
    stories = pool.load_pool("qa3", "original", "test")
    numbers, more = (chosen(stories, noise, point)[0] for point in (few, many))
    assert (len(numbers), len(more)) == (5, 12)
    assert numbers == more[:5]
    assert chosen(stories, noise, replace(many, seed=1))[0][:5] != numbers

    def texts(point: BabilongPoint, batch_size: int) -> dict[str, list[int]]:
        """Tokens of each sample by its facts and question, those that fill a batch left out."""
        found: dict[str, list[int]] = {}
        for rows, asked, count in batches(
            stories, noise, point, batch_size, lambda one: one.question
        ):
            read = rows[:, 0 : rows.shape[1]]
            for ids, one in zip(read[:count], asked[:count], strict=True):
                found[repr((one.facts, one.question))] = ids.tolist()
        return found

    small, large = texts(few, 2), texts(many, 7)
    assert small == {name: large[name] for name in small}


def test_questions_are_the_same_at_every_length(noise: Noise) -> None:
    point = BabilongPoint(
        stories="qa1", length="4k", answers="classes", model="rmt", weights="", background="",
        samples=20, seed=0, precision="fp32", device="cpu",
    )  # fmt: skip
    test = pool.load_pool("qa1", "original", "test")
    numbers, tokens, left_out = chosen(test, noise, point)
    assert (len(numbers), left_out) == (20, 0)
    assert numbers != sorted(numbers)
    for length in ("0k", "1k", "10M"):
        assert chosen(test, noise, replace(point, length=length))[0] == numbers
    assert chosen(test, noise, replace(point, seed=1))[0] != numbers
    counts = [count for _, _, count in batches(test, noise, point, 8, lambda one: one.question)]
    assert counts == [8, 8, 4]
    alone = list(batches(test, noise, replace(point, length="0k"), 8, lambda one: one.question))
    assert sum(count for *_, count in alone) == 20
    assert len({rows.shape[1] for rows, *_ in alone}) > 1
    assert tokens is not None


def test_train_and_evaluate_from_the_command_line(
    rmtscale: Command, files: Path, tmp_path: Path
) -> None:
    out, text = str(tmp_path / "run"), str(files / "text")
    done = rmtscale("train", *TRAIN, "--background", text, "--out", out)
    assert done.code == 0, done.err
    best = str(tmp_path / "run" / "best")
    given = ["--samples", "6", "--batch-size", "3", "--device", "cpu", "--background", text]
    evaluated = rmtscale("evaluate", best, "--lengths", "1k,0k", *given, "--format", "json")
    assert evaluated.code == 0, evaluated.err
    rows = json.loads(evaluated.out)["rows"]
    assert [(row["task"], row["length"]) for row in rows] == [
        ("qa1", "0k"), ("qa2", "0k"), ("qa1", "1k"), ("qa2", "1k"),
    ]  # fmt: skip
    assert all(row["samples"] == 6 and row["peak_bytes"] for row in rows)
    (first, *_) = BabilongStore(Path(best, "babilong.jsonl")).read().records
    assert first.training is not None
    assert (first.training.stories, first.training.memory_tokens) == ("qa1,qa2", 2)
    assert (first.training.between_share, first.training.ask_state) == (0.5, True)
    classes = json.loads((Path(best) / "task.json").read_text())["classes"]
    assert classes[-3:] == ["John", "Daniel", "Sandra"]
    seconds = json.loads((Path(best) / "task.json").read_text())["trained"]["seconds"]
    assert first.training.seconds == seconds > 0
    assert first.breakdown is not None
    after = first.breakdown.segments_after.plus(first.breakdown.segments_after_facts)
    assert (after.total, sum(after.correct)) == (6, first.correct)
    _captures_one_size_at_a_time(Path(best))
    assert {row["compile_step"] for row in rows} == {False}
    _compiles_as_asked(rmtscale, Path(best), given)
    table = rmtscale("evaluate", best, "--lengths", "0k", *given, "--stories", "qa5")
    assert table.code == 0, table.err
    assert "qa5" in table.out
    by_segments = rmtscale("evaluate", best, "--segments", "1,2", *given)
    assert by_segments.code == 0, by_segments.err
    for words, message in (
        (["--lengths", "3k"], "lengths '3k': expected a list of 0k"),
        (["--lengths", "1k", "--stories", "qa9"], "stories 'qa9': expected a list"),
        (["--stories", "qa1"], "--stories 'qa1': expected with --lengths only"),
        (["--answers", "classes"], "--answers 'classes': expected with --lengths only"),
        (["--lengths", "1k", "--answers", "talk"], "answers 'talk': expected one of classes"),
        (["--model", best], f"checkpoint {best!r} with --model {best!r}: expected one of"),
        (["--lengths", "1k", "--segments", "2"], "--segments '2' with --lengths '1k': expected"),
        (["--lengths", "1k", "--compile", "--device", "cpu"], "--compile on a CPU: expected --dev"),
        (["--lengths", "1k", "--probe"], "--probe with --lengths: expected with --segments only"),
    ):
        refused = rmtscale("evaluate", best, *words)
        assert refused.code == 2, words
        assert message in refused.err


def _compiles_as_asked(rmtscale: Command, checkpoint: Path, given: list[str]) -> None:
    """A CPU that is taken for a GPU: the record is that of a reader that was told to compile."""
    answers: list[bool] = []
    words = ["evaluate", str(checkpoint), "--lengths", "0k", "--stories", "qa1", *given]
    gpu = torch.device("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "compiles", lambda one, asked, _: compiles(one, asked, gpu))
        for asked in ("--compile", "--no-compile"):
            done = rmtscale(*words, asked, "--format", "json")
            assert done.code == 0, done.err
            answers += [row["compile_step"] for row in json.loads(done.out)["rows"]]
        shown = rmtscale(*words, "--compile")
        assert "BABILong, original test stories, right in percent, compiled" in shown.out
        assert "(in the file already)" in shown.err
    assert answers == [True, False]


def _captures_one_size_at_a_time(checkpoint: Path) -> None:
    """A step kept for a batch of stories alone would be memory that a long sample seems to take."""
    reader = Reader(load_checkpoint(checkpoint).answerer, torch.device("cpu"))
    answers = RmtAnswers(load_checkpoint(checkpoint), reader)
    reader.captures = True  # fixed buffers on a CPU too
    ids = np.arange(4 * 3 * reader.answerer.segment_tokens, dtype=np.int32).reshape(4, -1) % 50
    reader.logits(ids[:3])
    assert set(reader.segment_steps) == {3}
    answers.warm_up(4)
    assert set(reader.segment_steps) == {4}
    step = reader.segment_steps[4]
    whole, part = reader.logits(ids), reader.logits(ids[:3])
    answers.warm_up(4)
    assert reader.segment_steps == {4: step}
    torch.testing.assert_close(whole[:3], part)


def test_stories_of_another_task(rmtscale: Command, tmp_path: Path) -> None:
    refused = rmtscale(
        "train", "--task", "memorize", "--stories", "qa1", "--out", str(tmp_path / "run")
    )
    assert refused.code == 2
    assert "option stories='qa1' of task 'memorize': expected one of placement" in refused.err
