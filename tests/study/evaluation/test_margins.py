"""Early margins are those of inputs that end there; what holds is what a loop finds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.rmt.peft_layers import merge
from rmtscale.rmt.segmenting import cut
from rmtscale.study.evaluation import probe as probing
from rmtscale.study.evaluation.margins import Followed, margins_of, settled_at, summarize
from rmtscale.study.evaluation.probe import milestones, probe
from rmtscale.study.records.probe import Held, Margins, Probe
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from tests.grids import THOROUGH
from tests.study.training.test_merged_lora import draw_lora
from tests.study.training.test_training_pretrained import save_model
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")
MANY = 20 if THOROUGH else 14
"""Segments of an input that the slow loop follows."""


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer states are kept at once than lie between two questions."""
    monkeypatch.setattr(probing, "CHUNK_SEGMENTS", 3)


def untrained(background: Path, task: str = "detect-memorize", **more: Any) -> Reader:
    """A model that answers something, because its weights are larger than before a training.

    It is in float64: rounding takes no number over a dead band.
    """
    settings = tiny_settings(background, task=task, **more)
    data = TaskData(settings)
    torch.manual_seed(0)
    answerer = Answerer(build_rmt(settings, len(data.vocabulary), 6), class_ids(data))
    for parameter in answerer.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return Reader(answerer.double(), CPU)


def some(background: Path, reader: Reader, segments: int, *, cut_off: int = 0, **more: Any) -> Any:
    length = reader.answerer.segment_tokens
    data = TaskData(tiny_settings(background, **more))
    tokens = segments * length - cut_off
    return data.batches(tokens, length, split="validation", batch_size=6, seed=2)


def slow_margin(logits: list[float], answer: int) -> float:
    return logits[answer] - max(x for place, x in enumerate(logits) if place != answer)


class Slow:
    """One sample after another, one segment after another, one number after another."""

    def __init__(self, answerer: Answerer, batches: Batches, samples: int) -> None:
        self.answerer = answerer
        self.sinks = answerer.rmt.config.sink_tokens
        self.bounds = cut(batches.tokens, answerer.segment_tokens)
        self.stops = milestones(len(self.bounds))
        self.read: list[int] = []
        self.states: list[list[list[float]]] = []
        """Of each sample, before the first segment and after each, its carried numbers."""
        self.margins: list[dict[int, float]] = []
        for index in range(samples):
            batch, row = batches.batch(index // 6), index % 6
            ids = torch.from_numpy(batch.ids[row : row + 1]).long()
            last_fact = int(batch.fact_positions[row].max())
            self.read.append(
                next(n for n, (_, end) in enumerate(self.bounds, 1) if last_fact < end)
            )
            self.follow(ids, int(batch.answers[row]))

    @torch.no_grad()
    def follow(self, ids: torch.Tensor, answer: int) -> None:
        state, states, margins = self.answerer.initial(1), [], {}
        states.append(state[0, self.sinks :].flatten().tolist())
        begin, end = self.bounds[-1]
        for stop in range(len(self.bounds)):
            if stop in self.stops:
                whole = torch.cat([ids[:, : self.bounds[stop][0]], ids[:, begin:end]], dim=1)
                logits = self.answerer.read(whole)[0][0].tolist()
                margins[stop] = slow_margin(logits, answer)
            start, finish = self.bounds[stop]
            state = self.answerer.step(state, ids[:, start:finish])[0]
            states.append(state[0, self.sinks :].flatten().tolist())
        self.states.append(states)
        self.margins.append(margins)

    def apart(self, sample: int, one: int, other: int) -> float:
        """Mean square of the differences of a sample's numbers after so many segments."""
        pairs = zip(self.states[sample][one], self.states[sample][other], strict=True)
        squares = [(a - b) ** 2 for a, b in pairs]
        return sum(squares) / len(squares)

    def at(self, stop: int) -> Margins | None:
        rows = [row for row, read in enumerate(self.read) if read <= stop]
        if not rows:
            return None
        settled = {row: self.settled(row) for row in range(len(self.read))}
        moved = [self.apart(row, stop, at) for row, at in settled.items() if at and at < stop]
        squares = [x * x for row in rows for x in self.states[row][stop]]
        changes = [self.apart(row, stop, stop - 1) if stop else 0.0 for row in rows]
        return Margins(
            segments=stop,
            samples=len(rows),
            quantiles=quantiles([self.margins[row][stop] for row in rows]),
            state_rms=math.sqrt(sum(squares) / len(squares)),
            change_rms=math.sqrt(sum(changes) / len(changes)),
            settled_samples=len(moved),
            moved_rms=math.sqrt(sum(moved) / len(moved)) if moved else None,
        )

    def settled(self, row: int) -> int | None:
        return next((stop for stop in self.stops if stop >= self.read[row] + 4), None)

    def held(self) -> Held | None:
        last, wrong, kept, drifted = self.stops[-1], 0, 0, 0
        then, end = [], []
        for row in range(len(self.read)):
            at = self.settled(row)
            if at is None or at == last:
                continue
            if self.margins[row][at] <= 0:
                wrong += 1
                continue
            then.append(self.margins[row][at])
            end.append(self.margins[row][last])
            largest = max(self.apart(row, n, n + 1) for n in range(at, last))
            if end[-1] >= then[-1] / 2:
                kept += 1
            elif math.sqrt(self.apart(row, last, at)) > 2 * math.sqrt(largest):
                drifted += 1
        if not wrong and not then:
            return None
        return Held(
            samples=len(then),
            wrong_samples=wrong,
            settled_quantiles=quantiles(then) if then else (),
            end_quantiles=quantiles(end) if end else (),
            kept_samples=kept,
            drifted_samples=drifted,
        )


def quantiles(values: list[float]) -> tuple[float, float, float]:
    """Lowest, 5th percentile, median, between neighbours in proportion."""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return ordered[0], at(0.05), at(0.5)


def check(found: Probe, slow: Slow) -> None:
    wanted = [each for each in map(slow.at, slow.stops) if each is not None]
    assert len(found.margins) == len(found.after_segments) == len(wanted)
    for own, each, share in zip(found.margins, wanted, found.after_segments, strict=True):
        assert (str(own.segments), own.samples) == (share.label, share.samples)
        assert own.quantiles == pytest.approx(each.quantiles, abs=1e-9)
        for name in ("segments", "samples", "settled_samples"):
            assert getattr(own, name) == getattr(each, name)
        assert own.state_rms == pytest.approx(each.state_rms, rel=1e-5)
        assert own.change_rms == pytest.approx(each.change_rms, rel=1e-5, abs=1e-6)
        if each.moved_rms is None:
            assert own.moved_rms is None
        else:
            assert own.moved_rms == pytest.approx(each.moved_rms, rel=1e-5, abs=1e-6)
    held = slow.held()
    if held is None or found.held is None:
        assert held is found.held
        return
    for name in ("samples", "wrong_samples", "kept_samples", "drifted_samples"):
        assert getattr(found.held, name) == getattr(held, name)
    assert found.held.settled_quantiles == pytest.approx(held.settled_quantiles, abs=1e-9)
    assert found.held.end_quantiles == pytest.approx(held.end_quantiles, abs=1e-9)


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "bert-tiny"])
@pytest.mark.parametrize(
    ("sinks", "dead_band", "cut_off", "segments"),
    [(0, 0.0, 0, MANY), (1, 0.0, 7, MANY), (0, 0.3, 0, MANY), (0, 0.0, 0, 2), (0, 0.0, 0, 1)],
)
def test_they_are_those_of_inputs_that_end_there(
    background: Path, backbone: str, sinks: int, dead_band: float, cut_off: int, segments: int
) -> None:
    """A first segment that is short, sinks, a dead band, too few segments to settle."""
    reader = untrained(background, backbone=backbone, sink_tokens=sinks, memory_tokens=3)
    reader.answerer.rmt.set_dead_band(dead_band)
    batches = some(background, reader, segments, cut_off=cut_off, task="detect-memorize")
    check(probe(reader, batches, 12), Slow(reader.answerer, batches, 12))


@pytest.mark.parametrize("task", ["memorize", "reasoning"])
def test_any_task(background: Path, task: str) -> None:
    reader = untrained(background, task, segment_size=48)
    options = {"placement": "start"}
    batches = some(background, reader, MANY, task=task, segment_size=48, task_options=options)
    found = probe(reader, batches, 12)
    assert found.held is not None
    assert found.held.samples + found.held.wrong_samples == 12
    check(found, Slow(reader.answerer, batches, 12))


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_merged_lora(background: Path, tmp_path: Path, kind: str) -> None:
    save_model(tmp_path / kind, kind)
    chosen: dict[str, Any] = {
        "backbone": str(tmp_path / kind),
        "lora_rank": 4,
        "task": "detect-memorize",
    }
    answerer = MemoryObjective(tiny_settings(background, **chosen)).learner.eval()
    draw_lora(answerer, 0)
    merge(answerer.rmt)
    reader = Reader(answerer.double(), CPU)
    batches = some(background, reader, MANY, **chosen)
    check(probe(reader, batches, 6), Slow(answerer, batches, 6))


def test_a_margin_is_to_the_best_other_answer() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.5], [1.0, 4.0, 2.5], [3.0, 3.0, -9.0]])
    assert margins_of(logits, torch.tensor([1, 2, 0])).tolist() == [1.5, -1.5, 0.0]


def test_settled_is_four_segments_after_the_last_fact() -> None:
    stops = [1, 2, 4, 8, 16, 31]
    read = np.array([1, 4, 5, 12, 13, 27, 28, 32])
    assert settled_at(read, stops).tolist() == [3, 3, 4, 4, 5, 5, 6, 6]


def walk(steps: int, length: float = 1.0) -> Followed:
    """One sample that goes so many equal steps one way, and whose margin falls to a tenth."""
    stops = [8, 8 + steps]
    return Followed(
        margin_BS=np.array([[10.0, 1.0]]),
        state_BS=np.ones((1, 2)),
        change_BS=np.full((1, 2), length**2),
        largest_BS=np.array([[100.0, length**2]]),  # what wrote the fact does not count
        distance_BS=np.array([[0.0, ((stops[1] - stops[0]) * length) ** 2]]),
    )


@pytest.mark.parametrize(("steps", "drifted"), [(1, 0), (2, 0), (3, 1), (20, 1)])
def test_drift_takes_more_than_two_segments(steps: int, drifted: int) -> None:
    _, held = summarize(walk(steps), np.array([1]), [8, 8 + steps])
    assert held is not None
    assert (held.samples, held.kept_samples, held.drifted_samples) == (1, 0, drifted)


def test_half_is_kept_and_wrong_answers_are_told_apart() -> None:
    rows = 5
    followed = Followed(
        margin_BS=np.array([[6, 6, 3], [6, 6, 2.9], [6, -1, 6], [6, 0, 6], [6, 6, 9]], float),
        state_BS=np.ones((rows, 3)),
        change_BS=np.ones((rows, 3)),
        largest_BS=np.ones((rows, 3)),
        distance_BS=np.ones((rows, 3)),
    )
    margins, held = summarize(followed, np.array([1] * rows), [1, 5, 9])
    assert held is not None
    assert (held.samples, held.wrong_samples, held.kept_samples, held.drifted_samples) == (
        *(3, 2, 2),
        0,
    )
    assert held.settled_quantiles == (6, 6, 6)
    assert held.end_quantiles == pytest.approx((2.9, 2.91, 3))
    assert [own.settled_samples for own in margins] == [0, 0, 5]
    assert [own.moved_rms for own in margins] == [None, None, 1.0]
    # No answer was right then; and nothing had settled before the last question.
    _, none_right = summarize(followed, np.array([9, 9, 1, 1, 9]), [1, 5, 9])
    assert none_right is not None
    assert (none_right.samples, none_right.wrong_samples) == (0, 2)
    assert none_right.settled_quantiles == none_right.end_quantiles == ()
    assert summarize(followed, np.array([5] * rows), [1, 5, 9])[1] is None
