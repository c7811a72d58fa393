"""What a layer says of itself in words, and what its parts are by hand."""

from __future__ import annotations

import pytest

from rmtscale.specs.attention import Attention
from rmtscale.specs.layers import FeedForward, Layer, grouped
from rmtscale.specs.parts import Matrix

GROUPED = Attention(heads=8, kv_heads=2, head_width=16)


@pytest.mark.parametrize(
    ("part", "title"),
    [
        (GROUPED, "grouped-query attention, 8 heads of 16, 2 for keys and values"),
        (
            Attention(heads=8, kv_heads=1, head_width=16, window=100),
            "multi-query attention, 8 heads of 16, 1 for keys and values, window 100",
        ),
        (Attention(heads=8, kv_heads=8, head_width=16), "attention, 8 heads of 16"),
        (
            Attention(heads=8, kv_heads=8, head_width=16, kv_rank=32, rope_width=4, index_heads=3),
            "latent attention, 8 heads, 32 + 4 kept, an indexer of 3 heads",
        ),
        (FeedForward(inner=96), "gated, 96 wide"),
        (FeedForward(inner=96, gated=False), "96 wide"),
        (
            FeedForward(inner=40, experts=6, active=2, shared=72, dense_beside=96),
            "6 experts of 40, 2 a token, 72 shared, 96 dense beside",
        ),
    ],
)
def test_in_words(part: Attention | FeedForward, title: str) -> None:
    assert part.title == title


def test_what_is_kept_of_tokens() -> None:
    """Keys and values of all, or of those in a window; of a latent attention one vector."""
    assert GROUPED.cached(9) == 9 * 2 * (16 + 16)
    windowed = Attention(heads=8, kv_heads=2, head_width=16, value_width=10, window=7)
    assert [windowed.cached(tokens) for tokens in (6, 7, 8)] == [6 * 52, 7 * 52, 7 * 52]
    latent = Attention(heads=8, kv_heads=8, head_width=16, kv_rank=32, rope_width=4)
    assert latent.cached(9) == 9 * 36
    indexed = Attention(
        heads=8, kv_heads=8, head_width=16, kv_rank=32, rope_width=4, index_heads=3, index_width=5
    )
    assert indexed.cached(9) == 9 * (36 + 5)
    for idle in (Attention(heads=8, kv_heads=2, head_width=16, idle=True),):
        assert (idle.cached(9), idle.squares()) == (0, ())
    reused = Attention(heads=8, kv_heads=2, head_width=16, reuses_keys=True)
    assert reused.cached(9) == 0


def test_an_indexer_multiplies_every_pair() -> None:
    """Each head of it, and the weight that its logit is multiplied with."""
    index = Attention(heads=8, kv_heads=8, head_width=16, index_heads=3, index_width=5).squares()[0]
    assert index[:4] == ("index", 3 * 5 + 3, 3 * 5 + 5, 3 + 3)


def test_one_matrix_by_hand() -> None:
    one = Matrix("expert_up", 5, 7, bias=True, copies=6, active=2)
    assert (one.multiply_adds, one.weights, one.active_weights) == (70, 6 * 42, 2 * 42)
    assert one._replace(multiplied=6).multiply_adds == 6 * 35
    assert one._replace(rows="never").multiply_adds == 0
    assert one._replace(tied=True).weights == 6 * 7
    assert one._replace(tied=True).active_weights == 2 * 7


def test_equal_neighbours_are_grouped() -> None:
    plain, other = Layer(GROUPED), Layer(None)
    assert grouped([plain, plain, other, plain]) == ((plain, 2), (other, 1), (plain, 1))
