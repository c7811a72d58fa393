"""Blocks of text: which tokens are scored, and what is read before them, told one by one."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.blocks import IGNORED, TargetBlocks, TokenBatch, spread
from rmtscale.study.tasks.packing import Packed, packed_text
from rmtscale.study.tasks.task import SPLITS
from tests.study.tasks.small_tokenizer import small_tokenizer, spoken_documents

END = 7
LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6)
BLOCKS = st.integers(1, 9)
HISTORIES = st.integers(0, 20)


def numbered(lengths: list[int]) -> Packed:
    """Documents in which no token stands twice: a token says where it is from."""
    starts = np.cumsum([0, *lengths], dtype=np.int64)
    return Packed(np.arange(100, 100 + starts[-1], dtype=np.uint16), starts)


def told(packed: Packed, document: int, start: int, block: int, read: int) -> tuple[list[int], ...]:
    """The oracle: inputs and targets of a sample, written column by column."""
    text = packed.document(document).tolist()
    ids, targets = [], []
    for position in range(start + block - read, start + block):
        assert 0 <= position < len(text)
        ids.append(END if position == 0 else text[position - 1])
        targets.append(text[position] if position >= start else IGNORED)
    return ids, targets


def places(packed: Packed, batch: TokenBatch, block: int) -> list[tuple[int, int]]:
    """Document and start of the block of each sample, read off its targets."""
    found = []
    for targets, document in zip(batch.targets, batch.clusters, strict=True):
        first = int(targets[-block]) - 100
        found.append((int(document), first - int(packed.starts[document])))
    return found


def check(packed: Packed, batch: TokenBatch, block: int, history: int, read: int) -> None:
    """Every column of every sample is what the oracle tells."""
    for row, (document, start) in enumerate(places(packed, batch, block)):
        assert start >= history
        assert start + block <= int(packed.lengths[document])
        ids, targets = told(packed, document, start, block, read)
        assert batch.ids[row].tolist() == ids
        assert batch.targets[row].tolist() == targets
    assert {batch.ids.dtype, batch.targets.dtype, batch.clusters.dtype} == {np.dtype(np.int64)}
    assert batch.marks.shape == batch.ids.shape
    assert batch.marks.dtype == np.uint8
    assert not batch.marks.any()


@given(LENGTHS, BLOCKS, HISTORIES, st.data())
def test_the_scored_tokens_of_training(
    lengths: list[int], block: int, history: int, data: st.DataObject
) -> None:
    packed = numbered(lengths)
    if max(lengths) < block + history:
        with pytest.raises(BadInput, match=f"the longest has {max(lengths)}$"):
            TargetBlocks(packed, block, history, END)
        return
    blocks = TargetBlocks(packed, block, history, END)
    read = data.draw(st.integers(block, block + history))
    batch = blocks.drawn(seed=3, step=5, batch_size=8, read_tokens=read)
    assert batch.ids.shape == (8, read)
    check(packed, batch, block, history, read)


@given(LENGTHS, BLOCKS, HISTORIES, st.integers(0, 2**32), st.integers(0, 10**6))
def test_what_is_read_does_not_change_what_is_scored(
    lengths: list[int], block: int, history: int, seed: int, step: int
) -> None:
    """The same blocks in the same order, however many columns a model reads before them."""
    packed = numbered([*lengths, block + history])
    blocks = TargetBlocks(packed, block, history, END)
    least = blocks.drawn(seed, step, 5, block)
    for read in range(block, block + history + 1):
        batch = blocks.drawn(seed, step, 5, read)
        assert batch.targets[:, -block:].tolist() == least.targets.tolist()
        assert batch.ids[:, -block:].tolist() == least.ids.tolist()
        assert batch.clusters.tolist() == least.clusters.tolist()


@given(LENGTHS, BLOCKS, HISTORIES, st.integers(1, 7), st.data())
def test_the_grid_scores_every_token_at_most_once(
    lengths: list[int], block: int, history: int, size: int, data: st.DataObject
) -> None:
    """All whole blocks from a document's start that have enough before them, in order, once."""
    packed = numbered([*lengths, 2 * block + history])
    blocks = TargetBlocks(packed, block, history, END)
    grid = [
        (document, start)
        for document, length in enumerate(packed.lengths.tolist())
        for start in range(0, length - block + 1, block)
        if start >= history
    ]
    read = data.draw(st.integers(block, block + history))
    batches = list(blocks.batches(read, size))
    assert [len(batch.ids) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 <= len(batches[-1].ids) <= size
    found = []
    scored: Counter[int] = Counter()
    for batch in batches:
        check(packed, batch, block, history, read)
        found += places(packed, batch, block)
        scored.update(batch.targets[batch.targets != IGNORED].tolist())
    assert found == grid
    assert blocks.samples() == len(grid)
    assert set(scored.values()) == {1}
    assert scored.total() == len(grid) * block

    wanted = data.draw(st.integers(1, len(grid) + 3))
    some = [
        place
        for batch in blocks.batches(read, size, wanted)
        for place in places(packed, batch, block)
    ]
    assert len(some) == len(set(some)) == blocks.samples(wanted) == min(wanted, len(grid))
    assert set(some) <= set(grid)
    assert some == sorted(some)


@given(st.integers(1, 60), st.integers(0, 60))
def test_spread_is_even(count: int, more: int) -> None:
    """Ascending, each once, no gap larger than the others by more than one, nothing at an end."""
    total = count + more
    found = spread(count, total).tolist()
    assert len(found) == count
    gaps = [later - sooner for sooner, later in pairwise(found)]
    assert all(total // count <= gap <= -(-total // count) for gap in gaps)
    assert 0 <= found[0] <= total // count
    assert total - total // count - 1 <= found[-1] < total


def test_every_place_is_equally_likely() -> None:
    """Over documents of 3, 0 and 11 tokens: long documents have more places, not more weight."""
    packed = numbered([3, 0, 11, 2])
    blocks = TargetBlocks(packed, 2, 1, END)
    counts: Counter[tuple[int, int]] = Counter()
    for step in range(200):
        counts.update(places(packed, blocks.drawn(0, step, 50, 2), 2))
    assert set(counts) == {(0, 1), *((2, start) for start in range(1, 10))}
    expected = 200 * 50 / 10
    # Chi-squared on 9 degrees of freedom exceeds 33.7 once in 10,000 times.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 33.7


def test_steps_and_seeds_draw_anew() -> None:
    blocks = TargetBlocks(numbered([5000]), 4, 8, END)

    def drawn(seed: int, step: int, size: int = 6) -> tuple[int, ...]:
        return tuple(blocks.drawn(seed, step, size, 4).targets[:, 0].tolist())

    assert drawn(1, 2) == drawn(1, 2)
    assert len({drawn(1, 2), drawn(2, 1), drawn(1, 3), drawn(0, 2), drawn(2, 2)}) == 5


def test_the_start_of_a_document_follows_the_end_of_a_text() -> None:
    """And not the last token of the document before."""
    blocks = TargetBlocks(numbered([3, 3]), 3, 0, END)
    (batch,) = blocks.batches(3, 5)
    assert batch.ids.tolist() == [[END, 100, 101], [END, 103, 104]]
    assert batch.targets.tolist() == [[100, 101, 102], [103, 104, 105]]
    assert batch.clusters.tolist() == [0, 1]


def test_ids_beyond_two_bytes() -> None:
    tokens = np.arange(70_000, 70_010, dtype=np.uint32)
    blocks = TargetBlocks(Packed(tokens, np.array([0, 10])), 3, 2, END)
    assert blocks.drawn(0, 0, 4, 5).ids.max() >= 70_000


@pytest.mark.parametrize("read", [0, 3, 9])
def test_columns_that_cannot_be_read(read: int) -> None:
    blocks = TargetBlocks(numbered([20]), 4, 4, END)
    with pytest.raises(BadInput, match=f"read tokens {read}: expected 4 to 8, a block and at"):
        blocks.drawn(0, 0, 1, read)
    with pytest.raises(BadInput, match=f"read tokens {read}: expected 4 to 8"):
        next(blocks.batches(read, 1))


def test_documents_that_are_too_short() -> None:
    message = "history tokens 6 and block tokens 4: expected a document of 10 tokens or more, the"
    with pytest.raises(BadInput, match=f"{message} longest has 9$"):
        TargetBlocks(numbered([9, 0, 2]), 4, 6, END)
    # Long enough to draw from, but the grid's blocks start at 0, 4 and 8.
    blocks = TargetBlocks(numbered([11]), 4, 6, END)
    message = message.replace("of 10", "of 12")
    for ask in (blocks.samples, lambda: next(blocks.batches(4, 1))):
        with pytest.raises(BadInput, match=f"{message} longest has 11$"):
            ask()


def test_sizes_that_make_no_sense() -> None:
    packed = numbered([20])
    with pytest.raises(BadInput, match="block tokens 0: expected"):
        TargetBlocks(packed, 0, 4, END)
    with pytest.raises(BadInput, match="history tokens -1: expected 0 or more"):
        TargetBlocks(packed, 4, -1, END)
    blocks = TargetBlocks(packed, 4, 4, END)
    with pytest.raises(BadInput, match="samples 0: expected"):
        blocks.samples(0)
    with pytest.raises(BadInput, match="batch size 0: expected"):
        next(blocks.batches(4, 0))


def test_ignored_is_what_the_loss_ignores() -> None:
    from rmtscale.rmt import cross_entropy

    assert IGNORED == cross_entropy.IGNORED


def test_text_from_the_disk_to_a_batch(tmp_path: Path) -> None:
    """Inputs are the text before, in order; no block of validation is ever drawn in training."""
    documents = spoken_documents()
    sides = {"train": documents[:15], "validation": documents[15:]}
    for split, some in sides.items():
        lines = "".join(json.dumps({"text": text}) + "\n" for text in some)
        (tmp_path / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    tokenizer, read = small_tokenizer(), 48
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        packed = packed_text(str(tmp_path), split, tokenizer, tmp_path / "cache")
        blocks = TargetBlocks(packed, 16, 64, tokenizer.end_of_text)
        batches = [blocks.drawn(0, step, 8, read) for step in range(20)]
        batches += blocks.batches(read, 8)
        seen[split] = set()
        for batch in batches:
            for ids, targets, document in zip(*batch[:3], strict=True):
                text = sides[split][document]
                assert tokenizer.decode(ids) in text
                assert tokenizer.decode([*ids, targets[-1]]) in text
                seen[split].add(tokenizer.decode(targets[targets != IGNORED]))
    assert len(seen["train"]) > 100
    assert not seen["train"] & seen["validation"]
    assert not any(block in text for block in seen["train"] for text in sides["validation"])
