"""Vocabularies: ids by frequency, the task's words always in, stored and read back the same."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.vocabulary import (
    SPECIALS,
    TextCoder,
    TokenizerVocabulary,
    Vocabulary,
    split_words,
    vocabulary_from_mapping,
)
from tests.study.tasks.made_noise import made_documents
from tests.study.tasks.task_kinds import KINDS


def test_words_of_a_text() -> None:
    assert split_words("Where is Mary? She didn't say -- “no”.") == (
        "where is mary ? she didn't say - - “ no ” .".split()
    )


def test_the_most_frequent_words_are_in() -> None:
    """In the order: special, the task's, frequent ones; counted here by hand."""
    documents = ["b b b c c a a", "A d. Z! z, z. z"]
    found = Vocabulary.build(documents, 10, ["z", "q", "z"])
    assert found.words == (*SPECIALS, "z", "q", "a", "b", ".", "c")
    assert (found.pad_id, found.unk_id, found.cls_id, found.sep_id) == (0, 1, 2, 3)
    assert found.encode("Q. d z[PAD]") == [5, 8, 1, 4, 1, 1, 1]
    assert found.decode([4, 1, 7]) == ["z", "[UNK]", "b"]
    assert len(found) == 10


def test_a_large_size_takes_every_word() -> None:
    counts = Counter(split_words(" ".join(made_documents())))
    found = Vocabulary.build(made_documents(), 10**6, [])
    assert set(found.words[4:]) == set(counts)
    ranks = [counts[word] for word in found.words[4:]]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_word_of_a_task_has_an_id(name: str) -> None:
    task = KINDS[name]
    vocabulary = Vocabulary.build([], 4 + len(task.words()), task.words())
    for text in (*task.all_facts(), *task.all_questions(), *task.classes):
        assert vocabulary.unk_id not in vocabulary.encode(text)
    with pytest.raises(BadInput, match="the task's own words"):
        Vocabulary.build([], 3 + len(task.words()), task.words())


@given(st.lists(st.text(max_size=30), max_size=5), st.text(max_size=40))
def test_stored_and_read_back(documents: list[str], text: str) -> None:
    vocabulary = Vocabulary.build(documents, 50, ["mary"])
    again = vocabulary_from_mapping(json.loads(json.dumps(vocabulary.to_mapping())))
    assert isinstance(again, Vocabulary)
    assert again.words == vocabulary.words
    assert again.encode(text) == vocabulary.encode(text)
    assert vocabulary.decode(vocabulary.encode(text)) == [
        word if word in vocabulary.words[4:] else "[UNK]" for word in split_words(text)
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (None, "vocabulary of kind None: expected one of words, tokenizer"),
        ({"kind": "bytes"}, "vocabulary of kind 'bytes': expected one of words, tokenizer"),
        ({"kind": "words"}, "vocabulary without words"),
        ({"kind": "words", "words": [1]}, "vocabulary without words"),
        ({"kind": "words", "words": ["a"]}, r"vocabulary that starts with \['a'\]: expected"),
        ({"kind": "words", "words": [*SPECIALS, "a", "a"]}, "vocabulary with 'a' twice"),
        ({"kind": "tokenizer", "name": "x"}, "vocabulary without a tokenizer"),
        ({"kind": "tokenizer", "name": "x", "tokenizer": "{}"}, "tokenizer 'x': expected a token"),
    ],
)
def test_a_mapping_that_is_none(mapping: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        vocabulary_from_mapping(mapping)


def test_short_texts_are_remembered(vocabulary: Vocabulary) -> None:
    once = vocabulary.array("Where is Mary?")
    assert once is vocabulary.array("Where is Mary?")
    assert once.tolist() == vocabulary.encode("Where is Mary?")
    with pytest.raises(ValueError, match="read-only"):
        once[0] = 1


def bert_like(folder: Path) -> TokenizerVocabulary:
    """A WordPiece tokenizer trained on the spot, saved as transformers does."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=False)
    tokenizer.train_from_iterator(texts(), vocab_size=300, show_progress=False)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return TokenizerVocabulary(str(folder))


def gpt2_like(folder: Path) -> TokenizerVocabulary:
    """A byte-level one with a single special token; read from the file itself."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts(), vocab_size=600, show_progress=False, special_tokens=["<|endoftext|>"]
    )
    folder.mkdir()
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return TokenizerVocabulary(str(path))


def texts() -> list[str]:
    return [*made_documents(), *make_task("memorize").all_facts()]


@pytest.fixture(params=[bert_like, gpt2_like])
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> TokenizerVocabulary:
    vocabulary: TokenizerVocabulary = request.param(tmp_path / "tokenizer")
    return vocabulary


def test_a_tokenizer_writes_facts(trained: TokenizerVocabulary) -> None:
    """A fact is the same ids in the middle of running text as alone, and is where it is said."""
    fact = "Mary went back to the hallway."
    alone = trained.encode(fact)
    running = trained.encode(f"She left. {fact}")
    assert running[-len(alone) :] == alone
    assert len(running) == len(alone) + len(trained.encode("She left."))
    noise = Noise(made_documents(), trained)
    task = make_task("detect-memorize", persons=2)
    sample = task.sample(np.random.default_rng(0), 400, noise, segment_tokens=90)
    for position, told in zip(sample.fact_positions, sample.facts, strict=True):
        ids = trained.encode(told)
        assert sample.ids[position : position + len(ids)].tolist() == ids
    assert int(sample.ids.max()) < len(trained)
    stored = Tokenizer.from_str(str(trained.to_mapping()["tokenizer"]))
    assert trained.decode(alone) == [stored.id_to_token(index) for index in alone]


def test_a_tokenizer_stored_and_read_back(trained: TokenizerVocabulary) -> None:
    again = vocabulary_from_mapping(json.loads(json.dumps(trained.to_mapping())))
    assert isinstance(again, TextCoder)
    assert again.makes_the_ids_of(trained)
    assert not again.makes_the_ids_of(Vocabulary(SPECIALS))
    for text in texts():
        assert again.encode(text) == trained.encode(text)
    specials = ("pad_id", "unk_id", "cls_id", "sep_id")
    assert [getattr(again, name) for name in specials] == [
        getattr(trained, name) for name in specials
    ]


def test_the_ids_of_special_tokens(tmp_path: Path) -> None:
    bert, gpt2 = bert_like(tmp_path / "bert"), gpt2_like(tmp_path / "gpt2")
    named = [bert.pad_id, bert.unk_id, bert.cls_id, bert.sep_id]
    assert bert.decode(named) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    assert gpt2.decode([gpt2.pad_id, gpt2.cls_id]) == ["<|endoftext|>"] * 2


def test_no_such_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from tokenizers import Tokenizer, models

    with pytest.raises(BadInput, match=r"expected a tokenizer\.json in this folder"):
        TokenizerVocabulary(str(tmp_path))
    (tmp_path / "tokenizer.json").write_bytes(b"\xff")
    with pytest.raises(BadInput, match="cannot be read as UTF-8"):
        TokenizerVocabulary(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(BadInput, match=r"expected a tokenizer\.json of tokenizers"):
        TokenizerVocabulary(str(tmp_path))
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BadInput, match=r"no pad token, expected one of \[PAD\], <pad>"):
        TokenizerVocabulary(str(tmp_path))

    def no_session() -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_session", no_session)
    with pytest.raises(BadInput, match=r"gave no tokenizer\.json \(no route to host\)"):
        TokenizerVocabulary("some-lab/some-model")


def test_no_library_of_tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependency, match=r"needs pip install 'rmtscale\[measure\]'"):
        TokenizerVocabulary(str(tmp_path))
