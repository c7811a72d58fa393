"""Losses of a language model: those of a slow one, the same targets for all, resumable."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.language import LanguageEvaluation, evaluate_language, training_name
from rmtscale.study.records.clusters import paired_difference
from rmtscale.study.records.language import LanguageRecord, LanguageStore
from rmtscale.study.tasks.blocks import TargetBlocks
from rmtscale.study.tasks.packing import packed_text
from rmtscale.study.training.language.checkpoint import LanguageCheckpoint
from rmtscale.study.training.language.flops import sample_flops
from tests.tiny_checkpoint import make_checkpoint
from tests.tiny_text import tiny_text_settings

CPU = torch.device("cpu")
KINDS = {
    "rmt": {},
    "adapted": {"lora_rank": 2, "adapter_width": 4},
    "baseline": {"memory_tokens": 0, "segment_size": 28, "segments": 1, "block_tokens": 16},
}


@pytest.fixture(scope="module")
def checkpoints(
    text: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, LanguageCheckpoint]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: make_checkpoint(folder / name / "last", tiny_text_settings(text, **more), cache)
        for name, more in KINDS.items()
    }


def asked(where: Path, **more: Any) -> LanguageEvaluation:
    values = {"segments": (1, 3), "samples": 30, "batch_size": 8, "history_tokens": 32}
    return LanguageEvaluation(**{**values, "text": str(where), **more})


def evaluated(
    checkpoint: LanguageCheckpoint,
    wanted: LanguageEvaluation,
    cache: Path,
    path: Path,
    told: list[tuple[int, bool]] | None = None,
) -> list[LanguageRecord]:
    observe = None if told is None else lambda one, known: told.append((one.point.segments, known))
    return evaluate_language(
        checkpoint, wanted, LanguageStore(path), device=CPU, cache=cache, observe=observe
    )


def blocks(checkpoint: LanguageCheckpoint, text: Path, cache: Path) -> TargetBlocks:
    packed = packed_text(str(text), "validation", checkpoint.tokenizer, cache)
    return TargetBlocks(packed, 16, 32, checkpoint.tokenizer.end_of_text)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_one_by_one_gives(
    checkpoints: dict[str, LanguageCheckpoint], kind: str, text: Path, cache: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints[kind]
    counts = (1,) if kind == "baseline" else (1, 3)
    records = evaluated(checkpoint, asked(text, segments=counts), cache, tmp_path / "x.jsonl")
    source = blocks(checkpoint, text, cache)
    for record, segments in zip(records, counts, strict=True):
        read = segments * checkpoint.settings.segment_tokens
        tokens: Counter[int] = Counter()
        sizes: Counter[int] = Counter()
        nats: defaultdict[int, float] = defaultdict(float)
        by_place: list[list[float]] = [[] for _ in range(16)]
        for sample in source.batches(read, 1, 30):
            ids, targets = torch.from_numpy(sample.ids), torch.from_numpy(sample.targets)
            logits = checkpoint.predictor.rmt(ids, keep_logits="all").logits.double()
            document = int(sample.clusters[0])
            for place in range(16):
                target = int(targets[0, read - 16 + place])
                loss = -torch.log_softmax(logits[0, read - 16 + place], -1)[target].item()
                word = checkpoint.tokenizer.decode([target])
                tokens[document] += 1
                nats[document] += loss
                sizes[document] += len(word.encode())
                by_place[place].append(loss)
        assert list(record.parts) == ["all"]
        assert record.whole.tokens == tuple(tokens[one] for one in sorted(tokens))
        assert record.whole.text_bytes == tuple(sizes[one] for one in sorted(tokens))
        assert record.whole.loss_nats == pytest.approx([nats[one] for one in sorted(tokens)])
        means = [sum(one) / len(one) for one in by_place]
        assert record.position_nats == pytest.approx(means, rel=1e-5)


def test_all_are_scored_on_the_same_tokens(
    checkpoints: dict[str, LanguageCheckpoint], text: Path, cache: Path, tmp_path: Path
) -> None:
    rmt = evaluated(checkpoints["rmt"], asked(text, segments=(1, 2, 3)), cache, tmp_path / "x")
    base = evaluated(checkpoints["baseline"], asked(text, segments=(1,)), cache, tmp_path / "x")
    first, *others = [*rmt, *base]
    assert first.whole.total_tokens == 30 * 16
    assert len(first.whole.tokens) == 6  # documents
    for other in others:
        assert other.whole.tokens == first.whole.tokens
        assert other.whole.text_bytes == first.whole.text_bytes
        assert paired_difference(other.whole, first.whole).mean != 0
    assert len(LanguageStore(tmp_path / "x").read().records) == 4


def test_a_record_says_what_was_read(
    checkpoints: dict[str, LanguageCheckpoint], text: Path, cache: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints["rmt"]
    for one in evaluated(checkpoint, asked(text), cache, tmp_path / "x.jsonl"):
        segments = one.point.segments
        assert (one.point.block_tokens, one.point.history_tokens, one.point.samples) == (16, 32, 30)
        assert one.point.tokens == segments * 16
        flops = sample_flops(checkpoint.predictor.rmt, checkpoint.settings, segments)
        assert one.forward_flops == flops
        assert one.flops_per_token == flops / 16
        assert one.memory.peak_resident_bytes is not None
        assert one.memory.peak_resident_bytes > 0
        assert one.memory.peak_bytes == one.memory.peak_resident_bytes
        assert one.tokens_per_second == pytest.approx(30 * one.point.tokens / one.seconds)
        model = one.model
        assert (model.name, model.trained_steps, model.trained_tokens) == ("rmt", 7, 1000)
        assert (model.trained_flops, model.parameters, model.trainable_parameters) == (
            10**9,
            123,
            45,
        )
        assert (model.segment_size, model.memory_tokens, model.trained_segments) == (20, 2, 2)
    written = (tmp_path / "x.jsonl").read_text()
    assert str(text.parent) not in written
    assert text.name in written


def test_only_what_is_missing_is_read(
    checkpoints: dict[str, LanguageCheckpoint], text: Path, cache: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, bool]] = []
    path = tmp_path / "x.jsonl"
    first = evaluated(checkpoints["rmt"], asked(text), cache, path, told)
    with path.open("ab") as file:
        file.write(b'{"schema_version":1,"point":{"ta')
    again = evaluated(checkpoints["rmt"], asked(text, segments=(1, 2, 3)), cache, path, told)
    assert told == [(1, False), (3, False), (1, True), (2, False), (3, True)]
    assert (again[0], again[2]) == (first[0], first[1])
    # Other targets are another point.
    evaluated(checkpoints["rmt"], asked(text, history_tokens=48), cache, path, told)
    assert told[5:] == [(1, False), (3, False)]


def test_without_a_history_it_is_what_the_longest_reads(
    checkpoints: dict[str, LanguageCheckpoint], text: Path, cache: Path, tmp_path: Path
) -> None:
    wanted = asked(text, history_tokens=None, segments=(1, 4))
    records = evaluated(checkpoints["rmt"], wanted, cache, tmp_path / "x.jsonl")
    assert [one.point.history_tokens for one in records] == [48, 48]
    base = asked(text, history_tokens=None, segments=(1,))
    (one,) = evaluated(checkpoints["baseline"], base, cache, tmp_path / "x.jsonl")
    assert one.point.history_tokens == 12


def test_all_of_the_text(
    checkpoints: dict[str, LanguageCheckpoint], text: Path, cache: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints["rmt"]
    wanted = asked(text, samples=None, segments=(1,))
    (one,) = evaluated(checkpoint, wanted, cache, tmp_path / "x.jsonl")
    source = blocks(checkpoint, text, cache)
    assert one.point.samples == source.samples() > 30
    assert one.whole.total_tokens == 16 * one.point.samples


def test_the_size_of_a_batch_does_not_matter(
    checkpoints: dict[str, LanguageCheckpoint], text: Path, cache: Path, tmp_path: Path
) -> None:
    pair = [
        evaluated(checkpoints["rmt"], asked(text, batch_size=size), cache, tmp_path / str(size))[1]
        for size in (7, 100)
    ]
    assert [one.batch_size for one in pair] == [7, 30]
    assert pair[0].whole.loss_nats == pytest.approx(pair[1].whole.loss_nats, rel=1e-5)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"history_tokens": 100_000}, "history tokens 100000 and block tokens 16: expected a doc"),
        ({"segments": (1, 2, 4000), "history_tokens": None}, "history tokens 63984"),
        ({"history_tokens": 20}, "history tokens 20: expected 32 or more, what 3 segments"),
        ({"text": "nowhere"}, "'nowhere': expected python"),
        ({"precision": "bf16"}, "precision 'bf16' on a CPU: expected fp32"),
        ({"precision": "fp8"}, "precision 'fp8': expected one of fp32, bf16"),
    ],
)
def test_what_cannot_be_evaluated(
    checkpoints: dict[str, LanguageCheckpoint],
    text: Path,
    cache: Path,
    tmp_path: Path,
    more: Any,
    words: str,
) -> None:
    with pytest.raises(BadInput, match=words):
        evaluated(checkpoints["rmt"], asked(text, **more), cache, tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"segments": ()}, "segments: expected one or more"),
        ({"segments": (0,)}, "segments 0: expected a whole number of 1 or more"),
        ({"samples": 0}, "samples 0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"history_tokens": -1}, "history tokens -1: expected 0 or more"),
    ],
)
def test_what_cannot_be_asked(text: Path, more: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        asked(text, **more)


def test_names_of_trainings() -> None:
    folders = ["run/last", "run/best", "run/stages/segments-3", "elsewhere/run"]
    assert {training_name(Path("/x") / one) for one in folders} == {"run"}
