"""Noise: stretches begin at sentences, are as long as asked, and repeat only where they may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.noise import Noise, sentences
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.made_noise import made_documents


def test_sentences() -> None:
    text = 'He said: "Go!" She went.  Did she?\nYes (all of us did.) Then\n\na title\n \nEnd'
    assert sentences(text) == [
        'He said: "Go!"',
        "She went.",
        "Did she?",
        "Yes (all of us did.)",
        "Then",
        "a title",
        "End",
    ]
    assert sentences(" \n\n ") == []


def test_all_text_is_there(noise: Noise, vocabulary: Vocabulary) -> None:
    """Cutting into sentences loses no token and moves none."""
    whole = [index for text in made_documents() for index in vocabulary.encode(text)]
    assert noise.ids.tolist() == whole
    assert noise.tokens == len(whole)
    stop = vocabulary.encode(".")[0]
    ends = np.flatnonzero(noise.ids == stop)
    assert noise.sentence_starts.tolist() == [0, *(ends[:-1] + 1).tolist()]
    sizes = [len(vocabulary.encode(text)) for text in made_documents()]
    assert noise.document_starts.tolist() == [0, *np.cumsum(sizes).tolist()]


@given(tokens=st.integers(0, 5000), seed=st.integers(0, 1000))
def test_a_stretch(tokens: int, seed: int, noise: Noise) -> None:
    ids, starts = noise.stretch(np.random.default_rng(seed), tokens)
    assert len(ids) == tokens
    assert ids.dtype == np.int32
    assert np.array_equal(noise.stretch(np.random.default_rng(seed), tokens).ids, ids)
    if not tokens:
        assert not len(starts)
        return
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < tokens
    stop = noise.vocabulary.encode(".")[0]
    known = {0, *(np.flatnonzero(ids[:-1] == stop) + 1).tolist()}
    assert set(starts.tolist()) == known


def test_a_long_stretch_is_no_document_over_and_over(noise: Noise) -> None:
    """Six documents' length of text: not the same 200 tokens at any distance of one document."""
    size = noise.tokens // 20
    ids = noise.stretch(np.random.default_rng(0), 6 * size).ids
    windows = {tuple(ids[start : start + 200].tolist()) for start in range(len(ids) - 200)}
    assert len(windows) > 0.7 * (len(ids) - 200)
    documents = np.searchsorted(noise.document_starts, np.unique(ids), side="right")
    assert len(documents) > 150  # words of three documents and more: 50 each


def test_every_sentence_is_begun_with(vocabulary: Vocabulary) -> None:
    noise = Noise(["w0x1 w0x2. w0x3. w0x4 w0x5 w0x6.", "w0x7. w0x8."], vocabulary)
    rng = np.random.default_rng(1)
    counts = np.zeros(5)
    firsts = noise.ids[noise.sentence_starts].tolist()
    for _ in range(5000):
        counts[firsts.index(int(noise.stretch(rng, 1).ids[0]))] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 23.6  # chi-square, 4 degrees of freedom


@given(tokens=st.integers(1, 1200), seed=st.integers(0, 100))
def test_without_repeats(tokens: int, seed: int) -> None:
    """Every token is a word of its own here: none may be there twice."""
    words = [f"v{index}" for index in range(1200)]
    texts = [" ".join(words[at : at + 100]) for at in range(0, 1200, 100)]
    texts = [text.replace("0 ", "0\n\n") for text in texts]
    vocabulary = Vocabulary.build(texts, 1204, [])
    noise = Noise(texts, vocabulary, repeats=False)
    ids = noise.stretch(np.random.default_rng(seed), tokens).ids
    assert len(np.unique(ids)) == len(ids) == tokens
    with pytest.raises(BadInput, match="noise of 1201 tokens without repeats: expected 1200 or"):
        noise.stretch(np.random.default_rng(seed), 1201)


def test_a_slice_cannot_be_written_to(noise: Noise) -> None:
    with pytest.raises(ValueError, match="read-only"):
        noise.stretch(np.random.default_rng(0), 5).ids[0] = 1


@pytest.mark.parametrize("documents", [[], [""], ["\n \n"]])
def test_no_text(documents: list[str], vocabulary: Vocabulary) -> None:
    with pytest.raises(BadInput, match=f"noise of {len(documents)} documents: expected some text"):
        Noise(documents, vocabulary)
