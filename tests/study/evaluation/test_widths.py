"""Right answers with several widths, against reading with each of them alone; what is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation import widths as module
from rmtscale.study.evaluation.evaluate import right_answers
from rmtscale.study.evaluation.memory_changes import measure_changes, training_noise
from rmtscale.study.evaluation.widths import (
    ChangeSettings,
    WidthSettings,
    read_changes,
    read_widths,
    right_by_width,
)
from rmtscale.study.records.widths import WidthRecord, WidthStore
from rmtscale.study.tasks.babi import pool
from rmtscale.study.training.layout import LAST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")
WIDTHS = (0.0, 0.4, 1.0, 1e6)
KINDS: dict[str, dict[str, Any]] = {
    "decoder": {"task": "detect-memorize", "fact_fragments": 0.2},
    "encoder": {"task": "detect-memorize", "backbone": "modernbert-tiny"},
    "babilong": {
        "task": "babilong",
        "task_options": {"stories": "qa1,qa2", "ask_state": True},
        "between_share": 0.5,
        "segment_size": 132,
        "vocabulary_words": 300,
        "start_tokens": (64,),
    },
}


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Checkpoint, str]]:
    """A checkpoint, and the noise that it was trained with."""
    background = write_background(tmp_path_factory.mktemp("text"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "STORIES", {"train": 60, "validation": 20})
        pool.load_pool.cache_clear()
        settings = tiny_settings(background, steps=8, burn_in=(), **KINDS[request.param])
        folder = tmp_path_factory.mktemp("run")
        train(settings, folder, device="cpu")
        yield load_checkpoint(folder / LAST), str(background)
        pool.load_pool.cache_clear()


@pytest.fixture
def settings(made: tuple[Checkpoint, str]) -> WidthSettings:
    return WidthSettings(
        segments=(5, 2), widths=(0.4, 1e6), samples=11, batch_size=4, background=made[1]
    )


def test_each_width_answers_as_it_does_alone(made: tuple[Checkpoint, str]) -> None:
    checkpoint, background = made
    data, size = training_noise(checkpoint, background), checkpoint.answerer.segment_tokens
    batches = data.batches(6 * size, size, batch_size=8, seed=3)
    reader = Reader(checkpoint.answerer, CPU)
    found = right_by_width(reader, batches, 30, WIDTHS)
    for width in WIDTHS:
        checkpoint.answerer.rmt.set_dead_band(width)
        alone = right_answers(reader, batches, 30).right
        assert found[width] == "".join("01"[each] for each in alone), width
    checkpoint.answerer.rmt.set_dead_band(0)
    assert {len(right) for right in found.values()} == {30}


def test_a_captured_step_is_not_read_on_with_other_bands(
    made: tuple[Checkpoint, str],
) -> None:
    """It has the numbers of its own bands in it, wherever they lay."""
    checkpoint, background = made
    data, size = training_noise(checkpoint, background), checkpoint.answerer.segment_tokens
    batches = data.batches(3 * size, size, batch_size=2, seed=3)
    reader = Reader(checkpoint.answerer, CPU)
    reader.captures = True  # a step that runs eagerly, and is kept as a captured one is
    ids, rmt = batches.batch(0).ids, checkpoint.answerer.rmt
    for bands in ((0.0, 1e6), (1e6, 0.0)):
        with rmt.dead_band_of_rows(bands):
            first = reader.logits(ids)
            (step,) = reader.segment_steps.values()
            assert torch.equal(reader.logits(ids), first)
            assert list(reader.segment_steps.values()) == [step]
        reader.logits(ids)
        (plain,) = reader.segment_steps.values()
        assert plain is not step
    rmt.set_dead_band(0.3)
    reader.logits(ids)
    (held,) = reader.segment_steps.values()
    assert held is not plain
    rmt.set_dead_band(0)


def test_what_is_recorded_is_not_read_again(
    made: tuple[Checkpoint, str],
    settings: WidthSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = WidthStore(tmp_path / "widths.jsonl")
    read: list[tuple[int, tuple[float, ...]]] = []
    real = right_by_width

    def watched(reader: Any, batches: Any, samples: int, widths: Any) -> dict[float, str]:
        assert batches.task.split == "train", "never what an evaluation reads"
        read.append((batches.tokens // batches.segment_tokens, tuple(widths)))
        return real(reader, batches, samples, widths)

    monkeypatch.setattr(module, "right_by_width", watched)
    told: list[tuple[float, bool]] = []

    def ask(**more: Any) -> list[WidthRecord]:
        told.clear()
        return read_widths(
            made[0],
            replace(settings, **more),
            store,
            device=CPU,
            observe=lambda record, known: told.append((record.point.dead_band, known)),
        )

    first = ask()
    assert read == [(2, (0.0, 0.4, 1e6)), (5, (0.0, 0.4, 1e6))]
    assert [(one.point.segments, one.point.dead_band) for one in first] == [
        (count, width) for count in (2, 5) for width in (0.0, 0.4, 1e6)
    ]
    assert {len(one.right or "") for one in first} == {11}
    assert ask() == first
    assert len(read) == 2
    assert told == [(width, True) for _ in (2, 5) for width in (0.0, 0.4, 1e6)]
    more = ask(widths=(0.4, 0.7), segments=(5,))
    assert read[2:] == [(5, (0.7,))]
    assert [one.point.dead_band for one in more] == [0.0, 0.4, 0.7]
    assert list(store.read().latest().values()) == [*first, more[-1]]
    # The stories of a batch depend on how many it has: others cannot be paired with these.
    ask(batch_size=5, segments=(2,))
    assert read[3:] == [(2, (0.0, 0.4, 1e6))]


def test_the_checkpoints_own_band_is_put_aside(
    made: tuple[Checkpoint, str], settings: WidthSettings, tmp_path: Path
) -> None:
    checkpoint, _ = made
    small = replace(settings, segments=(2,))
    plain = read_widths(checkpoint, small, WidthStore(tmp_path / "a.jsonl"), device=CPU)
    checkpoint.answerer.rmt.set_dead_band(1e6)
    again = read_widths(checkpoint, small, WidthStore(tmp_path / "b.jsonl"), device=CPU)
    assert [one.right for one in again] == [one.right for one in plain]
    assert checkpoint.answerer.rmt.config.dead_band == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"widths": ()}, "widths none: expected one or more above 0"),
        ({"widths": (0.2, 0.0)}, r"widths 0\.2, 0: expected one or more above 0"),
        ({"widths": (float("inf"),)}, "widths inf: expected"),
        ({"samples": 0}, "samples 0: expected"),
        ({"batch_size": 0}, "batch size 0: expected"),
        ({"segments": (0,)}, "segments 0: expected"),
        ({"seed": -1}, "seed -1: expected 0 to"),
    ],
)
def test_settings_that_are_refused(more: dict[str, Any], words: str) -> None:
    start = {"segments": (2,), "widths": (0.3,), "samples": 1, "batch_size": 1}
    values: dict[str, Any] = {**start, **more}
    with pytest.raises(BadInput, match=words):
        WidthSettings(**values)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"samples": 0}, "samples 0: expected"),
        ({"segments": 0}, "segments 0: expected"),
        ({"seed": 2**31}, "seed 2147483648: expected 0 to"),
    ],
)
def test_settings_by_changes_that_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        ChangeSettings(**more)


def test_changes_are_those_of_training_text_and_recorded(
    made: tuple[Checkpoint, str], tmp_path: Path
) -> None:
    """As measured by hand; the checkpoint's own band hides none of them."""
    checkpoint, background = made
    checkpoint.answerer.rmt.set_dead_band(1e6)
    settings = ChangeSettings(segments=16, samples=5, background=background, seed=2)
    store = WidthStore(tmp_path / "widths.jsonl")
    record = read_changes(checkpoint, settings, store, device=CPU)
    assert [kept.to_line() for kept in store.read().records] == [record.to_line()]
    point = record.point
    assert (point.by, point.segments, point.samples, point.seed) == ("changes", 16, 5, 2)
    assert (point.task_options, point.split) == (checkpoint.settings.task_options, "train")
    size = checkpoint.answerer.segment_tokens
    batches = training_noise(checkpoint, background).batches(
        16 * size, size, batch_size=point.batch_size, seed=2
    )
    assert record.changes == measure_changes(Reader(checkpoint.answerer, CPU), batches, 5)
    again = read_changes(checkpoint, settings, None, device=CPU)
    assert (again.point, again.changes) == (point, record.changes)
    assert len(store.read().records) == 1


def test_a_cpu_compiles_nothing(
    made: tuple[Checkpoint, str], settings: WidthSettings, tmp_path: Path
) -> None:
    store = WidthStore(tmp_path / "widths.jsonl")
    with pytest.raises(BadInput, match="--compile on a CPU"):
        read_widths(made[0], replace(settings, compile_step=True), store, device=CPU)
    assert not store.path.exists()
