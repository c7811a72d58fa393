"""Evaluation: the numbers of a slow one, sample by sample; resumable; memory; bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rmtscale.errors import BadInput
from rmtscale.intervals import wilson_interval
from rmtscale.records.measurement import Memory
from rmtscale.study.evaluation.evaluate import (
    EvaluationSettings,
    data_of,
    evaluate,
    right_answers,
)
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.training.checkpoint import source_name
from rmtscale.study.training.layout import BEST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint, load_checkpoint
from rmtscale.study.training.memory_tasks.learned import learned
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module", params=["gpt-neox-tiny", "modernbert-tiny"])
def checkpoint(
    request: pytest.FixtureRequest, background: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    folder = tmp_path_factory.mktemp("run")
    settings = tiny_settings(
        background, backbone=request.param, task="detect-memorize", steps=60, stage_max_steps=40
    )
    train(settings, folder, device="cpu")
    return load_checkpoint(folder / BEST)


def asked(background: Path, **more: Any) -> EvaluationSettings:
    values = {"segments": (1, 3), "samples": 25, "batch_size": 10, "background": str(background)}
    return EvaluationSettings(**{**values, **more})


def test_it_is_what_one_by_one_gives(checkpoint: Checkpoint, background: Path) -> None:
    answerer = checkpoint.answerer
    tokens = 10 * answerer.segment_tokens  # more than one chunk
    data = data_of(checkpoint, str(background))
    batches = data.batches(tokens, answerer.segment_tokens, split="validation", batch_size=10)
    found = right_answers(Reader(answerer, CPU), batches, 25)
    slow = []
    for index in range(25):
        batch = batches.batch(index // 10)
        ids = torch.from_numpy(batch.ids[index % 10 : index % 10 + 1])
        with torch.no_grad():
            out = answerer.rmt(ids)
        logits = out.logits[:, -1][:, answerer.class_ids_C] if answerer.decoder else out.logits
        slow.append(int(logits.argmax()) == int(batch.answers[index % 10]))
    assert found.right == slow
    assert found.seconds > 0
    assert found.ids_bytes == 10 * tokens * 4


@pytest.mark.parametrize("placement", ["free", "start"])
def test_a_probe_is_of_the_reading_that_the_answers_are_of(
    checkpoint: Checkpoint,
    background: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    placement: str,
) -> None:
    """The longest length is read once; what is found is that of two readings, one after another."""
    read: list[int] = []
    advance = Reader.advance

    def noted(self: Reader, state_BME: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        read.append(ids_BL.shape[0])
        return advance(self, state_BME, ids_BL)

    monkeypatch.setattr(Reader, "advance", noted)
    wanted = asked(background, segments=(1, 40), task_options={"placement": placement})

    def found(name: str, *, probing: bool) -> tuple[list[EvaluationRecord], int]:
        read.clear()
        store = EvaluationStore(tmp_path / f"{name}.jsonl")
        records = evaluate(checkpoint, wanted, store, device=CPU, probing=probing)
        assert list(store.read().latest().values()) == records
        return [
            replace(
                one,
                evaluated_at="",
                seconds=1.0,
                tokens_per_second=1.0,
                memory=Memory(),
                environment=records[0].environment,
            )
            for one in records
        ], len(read)

    once, reads = found("once", probing=True)
    assert all(one.trained_with == (learned(checkpoint.settings),) for one in once)
    plain, plain_reads = found("twice", probing=False)
    again, more_reads = found("twice", probing=True)
    assert [one.probe for one in plain] == [None, None]
    assert once == again
    assert [replace(one, probe=None) for one in once] == plain
    assert once[0].probe is None, "only the longest is asked early"
    assert once[1].probe is not None
    assert once[1].probe.samples == 30, "whole batches"
    # Three batches of 39 segments before the last, and what warms up.
    assert (reads, more_reads) == (plain_reads, 3 * 39)
    assert found("once", probing=True)[1] == 0, "what is there is not read again"


def test_records(checkpoint: Checkpoint, background: Path, tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "evaluation.jsonl")
    told = []
    records = evaluate(
        checkpoint,
        asked(background),
        store,
        device=CPU,
        observe=lambda one, known: told.append((one.point.segments, known)),
    )
    assert told == [(1, False), (3, False)]
    one = records[0]
    assert one.point.tokens == checkpoint.answerer.segment_tokens
    assert one.accuracy == one.correct / 25
    assert (one.low, one.high) == wilson_interval(one.correct, 25)
    assert one.trained_steps == 60
    assert one.trained_from == ""
    assert '"trained_from"' not in one.to_line(), "the line that it was before this was noted"
    trained = replace(checkpoint.trained, weights_before="0123456789abcdef", steps_before=40)
    (gone_on,) = evaluate(
        replace(checkpoint, trained=trained),
        replace(asked(background), segments=(1,)),
        EvaluationStore(tmp_path / "gone-on.jsonl"),
        device=CPU,
    )
    assert (gone_on.trained_from, gone_on.trained_steps) == ("0123456789abcdef", 100)
    assert EvaluationStore(tmp_path / "gone-on.jsonl").read().records == (gone_on,)
    backbone = one.trained_backbone
    assert backbone is not None
    settings = checkpoint.settings
    assert (backbone.name, backbone.pretrained, backbone.lora_rank) == (
        settings.backbone,
        False,
        None,
    )
    assert backbone.kind == ("decoder" if checkpoint.answerer.decoder else "encoder")
    assert backbone.segment_size == settings.segment_size
    assert backbone.memory_tokens == settings.memory_tokens
    peak, baseline = one.memory.peak_resident_bytes, one.memory.baseline_resident_bytes
    assert peak is not None
    assert baseline is not None
    assert peak > baseline > 0
    assert one.point.background == background.name
    assert str(background.parent) not in store.path.read_text()
    # Again, and with one length more: only that one is read.
    told.clear()
    again = evaluate(
        checkpoint,
        asked(background, segments=(1, 2, 3)),
        store,
        device=CPU,
        observe=lambda one, known: told.append((one.point.segments, known)),
    )
    assert told == [(1, True), (2, False), (3, True)]
    assert again[0] == records[0]
    assert len(store.read().records) == 3


def test_a_dead_band_is_another_point(
    checkpoint: Checkpoint, background: Path, tmp_path: Path
) -> None:
    store = EvaluationStore(tmp_path / "evaluation.jsonl")
    settings = asked(background, segments=(3,))
    told: list[bool] = []

    def read() -> EvaluationRecord:
        return evaluate(
            checkpoint, settings, store, device=CPU, observe=lambda _, known: told.append(known)
        )[0]

    plain = read()
    checkpoint.answerer.rmt.set_dead_band(1e6)  # nothing is ever written
    try:
        held = read()
        assert read() == held
    finally:
        checkpoint.answerer.rmt.set_dead_band(0)
    assert read() == plain
    assert told == [False, False, True, True]
    assert (plain.point.dead_band, held.point.dead_band) == (0.0, 1e6)
    assert [record.point.dead_band for record in store.read().records] == [0.0, 1e6]
    with pytest.raises(BadInput, match="dead band -1: expected a number of 0 or more"):
        checkpoint.answerer.rmt.set_dead_band(-1)


def test_a_torn_file_goes_on(checkpoint: Checkpoint, background: Path, tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "evaluation.jsonl")
    evaluate(checkpoint, asked(background, segments=(1,)), store, device=CPU)
    with store.path.open("ab") as file:
        file.write(b'{"schema_version":1,"point":{"ta')
    evaluate(checkpoint, asked(background, segments=(1, 2)), store, device=CPU)
    assert [record.point.segments for record in store.read().records] == [1, 2]


def test_other_samples_for_long_inputs(background: Path) -> None:
    settings = asked(background, samples=1000, long_samples=200)
    assert [settings.samples_at(count) for count in (1, 256, 257, 4096)] == [1000, 1000, 200, 200]


def test_options_of_the_task(checkpoint: Checkpoint, background: Path) -> None:
    data = data_of(checkpoint, str(background), {"placement": "start"})
    tokens = 2 * checkpoint.answerer.segment_tokens
    batches = data.batches(tokens, checkpoint.answerer.segment_tokens, batch_size=10)
    assert not batches.batch(0).fact_positions.any()


def test_more_segments_than_text_without_repeats(
    checkpoint: Checkpoint, background: Path, tmp_path: Path
) -> None:
    settings = asked(background, segments=(1000,), noise_repeats=False)
    with pytest.raises(
        BadInput, match=r"noise of \d+ tokens without repeats: expected \d+ or less"
    ):
        evaluate(checkpoint, settings, EvaluationStore(tmp_path / "x.jsonl"), device=CPU)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"segments": ()}, "segments: expected one or more"),
        ({"segments": (0,)}, "segments 0: expected a whole number of 1 or more"),
        ({"samples": 0}, "samples 0"),
        ({"batch_size": 0}, "batch size 0"),
    ],
)
def test_what_cannot_be_asked(background: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        asked(background, **more)


def test_bf16_is_for_a_gpu(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadInput, match="precision 'bf16' on a CPU: expected fp32"):
        Reader(checkpoint.answerer, CPU, "bf16")
    with pytest.raises(BadInput, match="precision 'fp8': expected one of fp32, bf16"):
        Reader(checkpoint.answerer, CPU, "fp8")


def test_names_of_sources() -> None:
    assert source_name("/somewhere/prose") == "prose"
    assert source_name("python") == "python"
    assert source_name("hf:owner/name") == "hf:owner/name"
