"""Language modelling: blocks of documents to be predicted, each with the true text before it.

A sample is some columns of a document that end with the target block. The input of a column is
the token before the one to be predicted there: every token of the block is scored, whatever reads
it, the first with the token before the block. At the start of a document that is the end of a text.

Which blocks are scored depends on the history that is asked for, not on how much of it is read: a
model that reads one segment and one that reads eight are scored on the same tokens.

Shape legend: B batch, N columns read, D documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from rmtscale.errors import BadInput
from rmtscale.study.tasks.packing import Packed
from rmtscale.units import require_positive

IGNORED = -100
"""A target that is not scored, as everywhere in Transformers."""
Positions = npt.NDArray[np.int64]
_TAG = 0x626C6F636B
"""So that no other stream of the same seed is this one."""


class TokenBatch(NamedTuple):
    """Samples of one length."""

    ids: npt.NDArray[np.int64]
    """(B, N), what is read."""
    targets: npt.NDArray[np.int64]
    """(B, N), the token that follows each, ``IGNORED`` where it is not scored."""
    clusters: npt.NDArray[np.int64]
    """(B,), which document, or source file, each sample is of."""
    marks: npt.NDArray[np.uint8]
    """(B, N), bits that say what a target is; see ``lemma_proof``. Here 0."""


class TargetBlocks:
    """The blocks of some documents.

    Args:
        packed: the documents.
        block_tokens: tokens of a block; all of them are scored.
        history_tokens: least number of tokens of its document before each block.
        end_of_text: what is read before the first token of a document.

    Raises:
        BadInput: no document has room for a block and its history.
    """

    def __init__(
        self, packed: Packed, block_tokens: int, history_tokens: int, end_of_text: int
    ) -> None:
        require_positive("block tokens", block_tokens)
        if history_tokens < 0:
            raise BadInput(f"history tokens {history_tokens}: expected 0 or more")
        self.packed, self.end_of_text = packed, end_of_text
        self.block_tokens, self.history_tokens = block_tokens, history_tokens
        room = packed.lengths - (history_tokens + block_tokens)
        self._before = np.cumsum([0, *np.maximum(room + 1, 0)], dtype=np.int64)
        """(D + 1,), places for a block in the documents before each."""
        if not self._before[-1]:
            raise self._too_short(history_tokens + block_tokens)
        first = -(-history_tokens // block_tokens)
        blocks = np.maximum(packed.lengths // block_tokens - first, 0)
        self._grid = np.cumsum([0, *blocks], dtype=np.int64)
        """(D + 1,), blocks of the grid in the documents before each."""

    @cached_property
    def digest(self) -> str:
        """First 16 digits of the SHA-256 of the documents' tokens."""
        total = sha256(np.ascontiguousarray(self.packed.starts).tobytes())
        total.update(np.ascontiguousarray(self.packed.tokens).tobytes())
        return total.hexdigest()[:16]

    def _too_short(self, tokens: int) -> BadInput:
        return BadInput(
            f"history tokens {self.history_tokens} and block tokens {self.block_tokens}: expected "
            f"a document of {tokens} tokens or more, the longest has {self.packed.lengths.max()}"
        )

    def drawn(self, seed: int, step: int, batch_size: int, read_tokens: int) -> TokenBatch:
        """Draws the batch of a training step: blocks at any place, each place equally likely.

        Which blocks depends on ``seed``, ``step`` and ``batch_size``, not on ``read_tokens``.

        Args:
            seed: 0 or more.
            step: 0 or more.
            batch_size: B.
            read_tokens: N, columns of each sample, those of the block among them.

        Raises:
            BadInput: fewer columns than a block has, or more than every block has before it.
        """
        self._require(read_tokens)
        rng = np.random.default_rng((_TAG, seed, step))
        places = rng.integers(self._before[-1], size=batch_size)
        documents = np.searchsorted(self._before, places, side="right") - 1
        starts = self.history_tokens + places - self._before[documents]
        return self._read(documents, starts, read_tokens)

    def samples(self, wanted: int | None = None) -> int:
        """Blocks that ``batches`` gives: at most ``wanted``.

        Raises:
            BadInput: none, because no document has a whole block of the grid after its history.
        """
        if wanted is not None:
            require_positive("samples", wanted)
        total = int(self._grid[-1])
        if not total:
            blocks = -(-self.history_tokens // self.block_tokens) + 1
            raise self._too_short(blocks * self.block_tokens)
        return total if wanted is None else min(total, wanted)

    def batches(
        self, read_tokens: int, batch_size: int, wanted: int | None = None
    ) -> Iterator[TokenBatch]:
        """Yields every block of a grid once, or as many as are wanted, evenly spread over the grid.

        Each document is cut into blocks from its start; those without enough history are left
        out, and so is what remains at its end. The last batch may be smaller.

        Raises:
            BadInput: as ``drawn`` and ``samples``.
        """
        self._require(read_tokens)
        require_positive("batch size", batch_size)
        count, total = self.samples(wanted), int(self._grid[-1])
        chosen = spread(count, total)
        for low in range(0, count, batch_size):
            places = chosen[low : low + batch_size]
            documents = np.searchsorted(self._grid, places, side="right") - 1
            first = -(-self.history_tokens // self.block_tokens)
            blocks = first + places - self._grid[documents]
            yield self._read(documents, blocks * self.block_tokens, read_tokens)

    def _require(self, read_tokens: int) -> None:
        most = self.history_tokens + self.block_tokens
        if not self.block_tokens <= read_tokens <= most:
            raise BadInput(
                f"read tokens {read_tokens}: expected {self.block_tokens} to {most}, a block and "
                "at most its history"
            )

    def _read(self, documents: Positions, starts: Positions, read_tokens: int) -> TokenBatch:
        """Returns the columns that end with the blocks at ``starts``, (B,), of their documents."""
        tokens = self.packed.tokens
        first = starts + self.block_tokens - read_tokens  # in the document; 0 at its start
        place = self.packed.starts[documents] + first
        targets = sliding_window_view(tokens, read_tokens)[place].astype(np.int64)
        ids = np.empty_like(targets)
        ids[:, 1:] = targets[:, :-1]
        ids[:, 0] = np.where(first == 0, self.end_of_text, tokens[np.maximum(place - 1, 0)])
        targets[:, : read_tokens - self.block_tokens] = IGNORED
        return TokenBatch(ids, targets, documents, np.zeros(ids.shape, dtype=np.uint8))


def spread(count: int, total: int) -> Positions:
    """``count`` of the numbers below ``total``, ascending, as evenly spread as can be."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * total // (2 * count)
