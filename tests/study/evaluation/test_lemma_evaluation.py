"""Lemma-proof: what each part of a record scored, with the lemmas in the context and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.study.evaluation.language import LanguageEvaluation, evaluate_language
from rmtscale.study.records.clusters import paired_difference
from rmtscale.study.records.language import LanguageRecord, LanguageStore
from rmtscale.study.tasks.declarations import load_declarations
from rmtscale.study.tasks.lemma_proof import NAME, PROOF, LemmaProof
from rmtscale.study.training.language.checkpoint import LanguageCheckpoint
from tests.tiny_checkpoint import make_checkpoint
from tests.tiny_theorems import tiny_theorem_settings, write_theorems

CPU = torch.device("cpu")
SAMPLES = 9


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_theorems(tmp_path_factory.mktemp("text") / "decls.jsonl")


@pytest.fixture(scope="module")
def checkpoint(text: Path, tmp_path_factory: pytest.TempPathFactory) -> LanguageCheckpoint:
    folder = tmp_path_factory.mktemp("run")
    return make_checkpoint(folder / "last", tiny_theorem_settings(text), folder / "text")


@pytest.fixture(scope="module")
def records(
    checkpoint: LanguageCheckpoint, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[LanguageRecord]:
    folder = tmp_path_factory.mktemp("out")
    asked = LanguageEvaluation(
        segments=(3, 2), samples=SAMPLES, batch_size=4, text=str(text), precision="fp32"
    )
    store = LanguageStore(folder / "x.jsonl")
    found = evaluate_language(checkpoint, asked, store, device=CPU, cache=folder / "text")
    assert store.read().records == tuple(found)
    return found


def slow(
    checkpoint: LanguageCheckpoint, text: Path, segments: int, relevant: bool
) -> list[tuple[int, int, int, int, float]]:
    """``(file, target, mark, column from the end, loss)`` of each token, sample by sample."""
    source = LemmaProof(load_declarations(str(text)), checkpoint.tokenizer, 100, "validation")
    found = []
    for sample in source.batches(segments * 100, 1, SAMPLES, relevant=relevant):
        ids = torch.from_numpy(sample.ids)
        with torch.no_grad():
            logits = checkpoint.predictor.rmt(ids, keep_logits="all").logits[0].double()
        for column, target in enumerate(sample.targets[0].tolist()):
            loss = -torch.log_softmax(logits[column], -1)[target].item()
            mark = int(sample.marks[0, column])
            left = segments * 100 - column
            found.append((int(sample.clusters[0]), target, mark, left, loss))
    return found


def test_parts(records: list[LanguageRecord], checkpoint: LanguageCheckpoint, text: Path) -> None:
    assert [one.point.segments for one in records] == [2, 3]
    for record in records:
        segments = record.point.segments
        assert record.point.block_tokens == record.point.tokens == segments * 100
        assert record.point.history_tokens == 0
        seen = slow(checkpoint, text, segments, True)
        without = slow(checkpoint, text, segments, False)
        wanted = {
            "all": seen,
            "last-segment": [one for one in seen if one[3] <= 100],
            "proof": [one for one in seen if one[2] & PROOF],
            "names": [one for one in seen if one[2] & NAME],
            "names-without": [one for one in without if one[2] & NAME],
        }
        assert list(record.parts) == list(wanted)
        files = sorted({one[0] for one in seen})
        assert len(files) > 1
        for name, tokens in wanted.items():
            part = record.parts[name]
            by_file = [[one for one in tokens if one[0] == file] for file in files]
            assert part.tokens == tuple(map(len, by_file))
            losses = [sum(one[4] for one in tokens) for tokens in by_file]
            assert part.loss_nats == pytest.approx(losses, rel=1e-5)
            sizes = [
                sum(len(checkpoint.tokenizer.decode([one[1]]).encode()) for one in tokens)
                for tokens in by_file
            ]
            assert part.text_bytes == tuple(sizes)
        by_place = [[one[4] for one in seen if one[3] == 100 - place] for place in range(100)]
        means = [sum(losses) / len(losses) for losses in by_place]
        assert record.position_nats == pytest.approx(means, rel=1e-5)


def test_the_same_names_with_their_lemmas_and_without(records: list[LanguageRecord]) -> None:
    for record in records:
        names, without = record.parts["names"], record.parts["names-without"]
        assert names.total_tokens > 0
        assert names.text_bytes == without.text_bytes
        assert paired_difference(names, without).mean != 0
    assert records[0].parts["proof"].tokens == records[1].parts["proof"].tokens


def test_without_memory_on_two_segments(text: Path, tmp_path: Path) -> None:
    settings = tiny_theorem_settings(text, memory_tokens=0, segment_size=100)
    checkpoint = make_checkpoint(tmp_path / "last", settings, tmp_path / "text")
    asked = LanguageEvaluation(segments=(2,), samples=SAMPLES, batch_size=4, text=str(text))
    (one,) = evaluate_language(
        checkpoint, asked, LanguageStore(tmp_path / "x"), device=CPU, cache=tmp_path / "text"
    )
    assert one.whole.total_tokens == SAMPLES * 200


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"history_tokens": 3}, "history tokens 3 with lemma-proof: expected none"),
        ({"segments": (400,)}, "read tokens 40000: expected"),
        ({"text": "nowhere.jsonl"}, "declarations 'nowhere.jsonl': expected python"),
    ],
)
def test_what_cannot_be_evaluated(
    checkpoint: LanguageCheckpoint, text: Path, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    asked = LanguageEvaluation(**{"segments": (2,), "text": str(text), **more})
    with pytest.raises(BadInput, match=words):
        evaluate_language(
            checkpoint, asked, LanguageStore(tmp_path / "x"), device=CPU, cache=tmp_path
        )
