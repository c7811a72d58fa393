"""Training text whose last segment repeats the one before: what is drawn, and what is learned."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.records.language import LanguageStore
from rmtscale.study.tasks.blocks import IGNORED, TokenBatch
from rmtscale.study.training import learning
from rmtscale.study.training.language.checkpoint import load_language_checkpoint
from rmtscale.study.training.language.objective import LanguageObjective
from rmtscale.study.training.language.repeating import repeated, repeats, share_at
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.layout import LAST, METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.units import format_loss
from tests.command_line import Command
from tests.rmt.stand_in_capture import StandInCapture
from tests.tiny_text import tiny_text_settings

HALF: dict[str, Any] = {"repeat_share": 0.5, "segments": 3}
LETTERS = "abcd"


def read(text: Path, cache: Path, folder: Path, **more: Any) -> list[Interval]:
    """What a short training of mixed lengths noted."""
    settings = tiny_text_settings(text, **{**HALF, **more})
    train(settings, folder, device="cpu", cache=cache)
    return read_metrics(folder / METRICS)


@pytest.mark.parametrize("block", [4, 3, 1])
def test_the_last_segment_reads_again_what_the_one_before_read(block: int) -> None:
    """Column by column, of three segments of four tokens, behind the end of a text."""
    segment, columns, end = 4, 12, 99
    ids = np.arange(2 * columns).reshape(2, columns)
    targets = ids + 1
    targets[:, :-block] = IGNORED
    batch = TokenBatch(ids, targets, np.arange(2), np.zeros(ids.shape, dtype=np.uint8))
    kept = ids.copy(), targets.copy()
    found = repeated(batch, segment, end)
    for row in range(2):
        for column in range(columns):
            wanted = int(ids[row, column])
            if column == columns - segment:
                wanted = end
            if column > columns - segment:
                wanted = int(ids[row, column - segment - 1])
            assert found.ids[row, column] == wanted
            again = int(ids[row, column - segment]) if column >= columns - block else IGNORED
            assert found.targets[row, column] == again
        # What is scored was read in the segment before, and in no other.
        before = set(ids[row, columns - 2 * segment : columns - segment].tolist())
        scored = found.targets[row, columns - block :].tolist()
        assert set(scored) <= before
        # It is one text: what is a target is what the next column reads.
        assert scored[:-1] == found.ids[row, columns - block + 1 :].tolist()
    assert np.array_equal(batch.ids, kept[0])
    assert np.array_equal(batch.targets, kept[1])


def test_the_share_falls_on_a_line_to_none() -> None:
    settings = LanguageSettings(segments=2, steps=1000, repeat_share=0.5, repeat_until=0.7)
    at = [share_at(settings, step) for step in (0, 699, 700, 850, 999)]
    assert at == pytest.approx([0.5, 0.5, 0.5, 0.25, 0.5 / 300])
    assert share_at(replace(settings, repeat_until=1.0), 999) == 0.5
    assert share_at(replace(settings, repeat_until=0.0), 500) == 0.25


def test_what_repeats_is_drawn_by_seed_and_step() -> None:
    settings = LanguageSettings(segments=2, steps=6000, repeat_share=0.5, repeat_until=0.5)
    drawn = [repeats(settings, step, 2) for step in range(6000)]
    assert drawn == [repeats(settings, step, 3) for step in range(6000)]
    assert drawn != [repeats(replace(settings, seed=1), step, 2) for step in range(6000)]
    # Three standard deviations of 3,000 and of 1,000 draws.
    assert sum(drawn[:3000]) == pytest.approx(1500, abs=83)
    assert sum(drawn[3000:4000]) == pytest.approx(417, abs=47)
    assert sum(drawn[5000:]) == pytest.approx(83, abs=26)
    assert not any(repeats(settings, step, 1) for step in range(6000))
    every = replace(settings, repeat_share=1.0, repeat_until=1.0)
    assert all(repeats(every, step, 2) for step in range(6000))


def test_all_other_batches_are_those_without(text: Path, cache: Path) -> None:
    """Bit for bit, of the same stages, as if nothing ever repeated."""
    plain = LanguageObjective(tiny_text_settings(text, segments=3), cache)
    some = LanguageObjective(tiny_text_settings(text, **HALF), cache)
    seen = set()
    for step in range(24):
        ours, theirs = some.batch(step, 2), plain.batch(step, 2)
        assert ours.draw == theirs.draw
        assert not theirs.repeats
        same = all(torch.equal(a, b) for a, b in zip(ours.inputs, theirs.inputs, strict=True))
        assert same is not ours.repeats
        assert (ours.constant, ours.scored) == (theirs.constant, theirs.scored)
        seen.add((some.stages[ours.draw.stage].segments, ours.repeats))
    assert seen == {(1, False), (2, False), (2, True), (3, False), (3, True)}


def test_metrics_tell_the_two_losses_apart(text: Path, cache: Path, tmp_path: Path) -> None:
    """Their mean, by how many batches there were of each, is the loss; none is told without."""
    settings = tiny_text_settings(text, **HALF)
    found = read(text, cache, tmp_path / "run")
    made = LanguageObjective(settings, cache)
    told = 0
    for number, one in enumerate(found):
        steps = range(4 * number, 4 * number + 4)
        again = sum(made.batch(step, one.stage).repeats for step in steps)
        assert (one.repeated_loss is None) == (again == 0)
        assert (one.ordinary_loss is None) == (again in (0, 4))
        if one.repeated_loss is not None and one.ordinary_loss is not None:
            both = again * one.repeated_loss + (4 - again) * one.ordinary_loss
            assert one.loss == pytest.approx(both / 4, rel=1e-6)
            told += 1
    assert told
    assert found[0].repeated_loss is None, "one segment is all there is"
    none = read(text, cache, tmp_path / "none", repeat_share=0.0)
    assert {(one.repeated_loss, one.ordinary_loss) for one in none} == {(None, None)}


def test_going_on_and_captured_steps_end_with_the_same_losses(
    text: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_text_settings(text, repeat_until=0.5, **HALF)
    wanted = [one.outcome() for one in read(text, cache, tmp_path / "run", repeat_until=0.5)]
    stopped, calls = tmp_path / "stopped", 0
    while not train(settings, stopped, device="cpu", cache=cache, max_seconds=0.0).finished:
        calls += 1
    assert calls == 5
    assert [one.outcome() for one in read_metrics(stopped / METRICS)] == wanted
    capture = StandInCapture()
    monkeypatch.setattr(learning, "GraphCapture", lambda: capture)
    captured = read(text, cache, tmp_path / "captured", repeat_until=0.5)
    assert capture.made == 3, "one for each number of segments, repeated or not"
    assert [one.outcome() for one in captured] == wanted


def test_memory_is_read_within_seconds(tmp_path: Path) -> None:
    """Random letters, of which ordinary text says nothing: ln 4 nats each, whatever is learned.

    Memory of what the segment before read says all of them.
    """
    chance, source = random.Random(1), tmp_path / "letters"
    source.mkdir()
    for split in ("train", "validation"):
        lines = ["".join(chance.choices(LETTERS, k=2000)) for _ in range(20)]
        rows = [json.dumps({"text": line}) + "\n" for line in lines]
        (source / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
    settings = tiny_text_settings(
        source,
        vocabulary_size=257,  # a letter is a token
        segment_size=6,
        start_segments=2,
        history_tokens=2,
        batch_size=32,
        learning_rate=3e-3,
        steps=100,
        warmup_steps=10,
        log_every=10,
        validate_every=100,
        keep_stages=False,
        repeat_share=1.0,
    )
    train(settings, tmp_path / "run", device="cpu")
    found = read_metrics(tmp_path / "run" / METRICS)
    assert found[-1].repeated_loss == found[-1].loss
    assert found[-1].loss < 0.25 * math.log(len(LETTERS))
    # It is memory that tells: in the state before any segment there is nothing to read.
    predictor = load_language_checkpoint(tmp_path / "run" / LAST).predictor
    batch = LanguageObjective(settings, tmp_path / "cache").batch(0, 0)
    ids_BN, targets_BN = batch.inputs
    read_BL = predictor.token_losses(ids_BN, targets_BN, 2)
    alone_BL = predictor.token_losses(ids_BN[:, 2:], targets_BN[:, 2:], 2)
    assert float(read_BL.mean()) < 0.25 * math.log(len(LETTERS))
    assert float(alone_BL.mean()) > math.log(len(LETTERS))


def test_by_options_and_in_records(rmtscale: Command, text: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "run", tmp_path / "records.jsonl"
    given = ["train", "--task", "language-modeling", "--text", str(text), "--out", str(out)]
    given += ["--backbone", "gpt-neox-tiny", "--segment-size", "32", "--memory-tokens", "2"]
    given += ["--segments", "2", "--steps", "4", "--batch-size", "4", "--device", "cpu"]
    for more in ("vocabulary_size=257", "start_segments=2", "log_every=2", "validate_every=4"):
        given += ["--set", more]
    given += ["--set", "validation_samples=4", "--set", "precision=fp32"]
    again = [*given, "--set", "repeat_share=1", "--set", "repeat_until=0.75"]
    done = rmtscale(*again)
    assert done.code == 0, done.err
    first = read_metrics(out / METRICS)[0]
    assert f"(of repeated text {format_loss(first.repeated_loss or math.nan)})" in done.err
    read = rmtscale(
        *("evaluate", str(out / LAST), "--segments", "1,2", "--samples", "4"),
        *("--text", str(text), "--out", str(file)),
    )
    assert read.code == 0, read.err
    assert "2 memory tokens (step 4), 100 % repeated until 75 %" in " ".join(read.out.split())
    for record in LanguageStore(file).read().records:
        model = record.model
        assert (model.trained_repeat_share, model.trained_repeat_until) == (1.0, 0.75)
        assert not record.as_in_paper
    other = rmtscale(*given)
    assert other.code == 2
    assert "repeat share 0.0: the training in" in other.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"repeat_share": 1.5}, r"repeat share 1\.5: expected 0 to 1$"),
        ({"repeat_share": math.nan}, "repeat share nan: expected 0 to 1$"),
        ({"repeat_share": 0.5, "repeat_until": -0.1}, r"repeat until -0\.1: expected 0 to 1$"),
        ({"repeat_until": 0.7}, r"repeat until 0\.7 with a repeat share of 0: expected 1, or a"),
        ({"repeat_share": 0.5, "segments": 1}, r"repeat share 0\.5 of 1 segment: expected 2 seg"),
        (
            {"repeat_share": 0.5, "memory_tokens": 0, "segments": 2},
            r"repeat share 0\.5 without memory: expected 0, nothing could tell",
        ),
        (
            {"repeat_share": 0.5, "task": "lemma-proof", "segments": 2},
            r"repeat share 0\.5 with lemma-proof: expected 0, what is scored is all of it",
        ),
    ],
)
def test_where_it_can_do_nothing_it_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LanguageSettings(**given)
