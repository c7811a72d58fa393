"""Byte-level BPE: every text comes back, ids are known bytes, the same text trains the same."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.study.tasks import tokenizer as module
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.tokenizer import (
    END_OF_TEXT,
    TextTokenizer,
    committed_tokenizers,
    load_tokenizer,
    tokenizer_from_mapping,
    train_tokenizer,
)
from tests.study.tasks.small_tokenizer import small_tokenizer, spoken_documents

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
COMMITTED = ("latex-4096", "lean-4096")
SPACED = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
SAID = f"{END_OF_TEXT} said {END_OF_TEXT}"


@given(st.sampled_from(("small", *COMMITTED)), TEXTS)
@example("small", SAID)
@example("lean-4096", "∀ x : \U0001d55c, ‖x‖ = 0\n\n  ↔  x = 0")
def test_a_text_comes_back(name: str, text: str) -> None:
    """And its bytes are those of its tokens, whatever a text says of special tokens."""
    tokenizer = small_tokenizer() if name == "small" else load_tokenizer(name)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert int(tokenizer.token_bytes[ids].sum()) == len(text.encode())
    assert tokenizer.end_of_text not in ids
    assert all(tokenizer.token_bytes[ids] > 0)


@given(TEXTS)
@example(SAID)
def test_spans_are_where_the_tokens_stand(text: str) -> None:
    """Token by token: the bytes of a token lie in the characters of its span."""
    tokenizer = small_tokenizer()
    ids, spans = tokenizer.encode_with_spans(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    assert spans.shape == (len(ids), 2)
    before = 0
    for index, (start, stop) in zip(ids, spans.tolist(), strict=True):
        after = before + int(tokenizer.token_bytes[index])
        assert len(text[:start].encode()) <= before
        assert after <= len(text[:stop].encode())
        # Not a character more: the span without its last or first one would be too small.
        assert len(text[: start + 1].encode()) > before
        assert after > len(text[: stop - 1].encode())
        before = after


def test_many_texts_are_each_what_they_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 3000)
    tokenizer = small_tokenizer()
    texts = ["", *spoken_documents(), "", SAID]
    found = list(tokenizer.encode_each(texts))
    assert [one.tolist() for one in found] == [tokenizer.encode(text).tolist() for text in texts]
    assert {one.dtype for one in found} == {np.dtype(np.int32)}
    assert list(tokenizer.encode_each([])) == []


def test_texts_are_encoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for the second chunk before the first was taken."""
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 5)
    asked: list[int] = []

    def texts() -> Any:
        for number in range(9):
            asked.append(number)
            yield "ab"

    stream = small_tokenizer().encode_each(texts())
    next(stream)
    assert asked == [0, 1, 2]


def test_the_same_texts_train_the_same() -> None:
    """In any order; another text or size is another tokenizer."""
    documents = spoken_documents()
    again = train_tokenizer(documents[::-1], 400)
    assert again.digest == small_tokenizer().digest
    assert again.vocabulary_size == 400
    assert len(again.digest) == 16
    assert int(again.digest, 16) >= 0
    others = (train_tokenizer(documents[:-1], 400), train_tokenizer(documents, 399))
    assert len({again.digest, *(other.digest for other in others)}) == 3


def test_training_helps() -> None:
    text = spoken_documents()[0]
    bytes_only = train_tokenizer([], 257)
    assert bytes_only.vocabulary_size == 257
    assert len(bytes_only.encode(text)) == len(text.encode())
    assert len(small_tokenizer().encode(text)) < 0.7 * len(text)


def test_too_small_a_vocabulary() -> None:
    with pytest.raises(BadInput, match="vocabulary size 256: expected 257 or more, every byte"):
        train_tokenizer(spoken_documents(), 256)


def test_stored_and_read_back() -> None:
    tokenizer = small_tokenizer()
    again = tokenizer_from_mapping(json.loads(json.dumps(tokenizer.to_mapping())))
    assert (again.digest, again.name) == (tokenizer.digest, tokenizer.name)
    assert again.token_bytes.tolist() == tokenizer.token_bytes.tolist()
    assert again.encode(SAID).tolist() == tokenizer.encode(SAID).tolist()
    with pytest.raises(ValueError, match="read-only"):
        again.token_bytes[0] = 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (None, "tokenizer of kind None: expected byte-level-bpe"),
        ([], "tokenizer of kind None: expected byte-level-bpe"),
        ({"kind": "words"}, "tokenizer of kind 'words': expected byte-level-bpe"),
        ({"kind": "byte-level-bpe", "name": "x"}, "tokenizer without its JSON"),
        ({"kind": "byte-level-bpe", "name": 1, "tokenizer": "{}"}, "tokenizer without its JSON"),
        ({"kind": "byte-level-bpe", "name": "x", "tokenizer": "{}"}, "tokenizer 'x': expected a"),
        ({"kind": "byte-level-bpe", "name": "x", "tokenizer": "?"}, "tokenizer 'x': expected JSON"),
    ],
)
def test_a_mapping_that_is_none(mapping: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tokenizer_from_mapping(mapping)


def changed(**parts: Any) -> str:
    """The small tokenizer's JSON with some parts replaced."""
    return json.dumps({**json.loads(small_tokenizer().to_mapping()["tokenizer"]), **parts})


def test_kinds_that_are_not_byte_level(tmp_path: Path) -> None:
    from tokenizers import BertWordPieceTokenizer, Tokenizer, models

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(spoken_documents(), vocab_size=300, show_progress=False)
    no_bytes = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    texts = {
        "word pieces": pieces.to_str(),
        "no bytes": no_bytes.to_str(),
        "lower case": changed(normalizer={"type": "Lowercase"}),
        "a space in front": changed(pre_tokenizer=SPACED),
    }
    for name, text in texts.items():
        with pytest.raises(BadInput, match=f"tokenizer {name!r}: expected a byte-level BPE"):
            TextTokenizer(name, text)


def test_one_without_an_end_of_text() -> None:
    text = changed(added_tokens=[])
    with pytest.raises(BadInput, match=r"'x': expected one of the tokens <\|endoftext\|>, </s>"):
        TextTokenizer("x", text)


def lacking(signs: str) -> str:
    """The small tokenizer's JSON without the tokens of some bytes, written as GPT-2 writes them."""
    model = json.loads(small_tokenizer().to_mapping()["tokenizer"])["model"]
    vocabulary = {token: index for token, index in model["vocab"].items() if token not in signs}
    assert len(vocabulary) == len(model["vocab"]) - len(signs)
    return changed(model={**model, "vocab": vocabulary})


NEVER_WRITTEN = "\u0104\u0116\xc0\xff\xf1\xf4"
"""Bytes 04, 16, C0, FF, F1 and F4, as a byte-level BPE writes them."""


@given(TEXTS)
@example("\x04")
@example("a\x16")
@example("\x15\x17 \U0003ffff \U000c0000 \U000fffff")
@example("plane 4 \U00040000")
@example("plane 7 \U0007ffff")
@example("plane 16 \U00100000")
def test_a_character_without_a_token_is_refused(text: str) -> None:
    """Never left out: a text comes back, or it is refused for a byte that has no token."""
    tokenizer = TextTokenizer("lacking", lacking(NEVER_WRITTEN))
    if {0x04, 0x16, 0xF1, 0xF4} & set(text.encode()):
        for encode in (
            tokenizer.encode,
            tokenizer.encode_with_spans,
            lambda text: list(tokenizer.encode_each(["a", text])),
        ):
            with pytest.raises(BadInput, match="tokenizer 'lacking' has no token for it"):
                encode(text)
        return
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert int(tokenizer.token_bytes[ids].sum()) == len(text.encode())
    assert ids.tolist() == tokenizer.encode_with_spans(text).ids.tolist()


@pytest.mark.parametrize("sign", ["A", "~", "\u010a", "\xc2", "\xf0"])
def test_a_byte_of_ordinary_text_is_not_lacking(sign: str) -> None:
    """A letter, a sign, line feed, or the first of two or four bytes."""
    with pytest.raises(BadInput, match="'x': expected a byte-level BPE"):
        TextTokenizer("x", lacking(sign))


def gpt2_like(folder: Path) -> Path:
    """A tokenizer.json as GPT-2's: its own trimming of spans, its end of text last."""
    from tokenizers import AddedToken, ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer(trim_offsets=True, unicode_normalizer="nfc")
    tokenizer.train_from_iterator(spoken_documents(), vocab_size=400, show_progress=False)
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.add_tokens([AddedToken("    ", normalized=False)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_of_others(tmp_path: Path) -> None:
    """From the folder or the file; nothing is cut, added tokens have bytes, special ones none."""
    folder = gpt2_like(tmp_path)
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.digest == load_tokenizer(str(folder / "tokenizer.json")).digest
    assert tokenizer.vocabulary_size == 402
    assert (tokenizer.end_of_text, tokenizer.token_bytes[400]) == (400, 0)
    text = "def cafe\u0301():\n    return w1x2  # W3x4 five six"
    ids, spans = tokenizer.encode_with_spans(text)
    assert 401 in ids
    composed = unicodedata.normalize("NFC", text)
    assert tokenizer.decode(ids) == composed
    assert int(tokenizer.token_bytes[ids].sum()) == len(composed.encode())
    covered = {place for start, stop in spans.tolist() for place in range(start, stop)}
    assert covered >= {place for place, one in enumerate(text) if one.isalnum()}


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_ones(name: str) -> None:
    tokenizer = load_tokenizer(name)
    assert tokenizer.name == name
    assert tokenizer.vocabulary_size == 4096
    assert tokenizer.end_of_text == 0
    assert tokenizer.decode([tokenizer.end_of_text]) == END_OF_TEXT
    assert len(tokenizer.encode("\n\n")) == 1


def test_names_of_committed_ones() -> None:
    assert committed_tokenizers() == COMMITTED


def test_a_committed_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name means does not depend on where one stands."""
    (tmp_path / "latex-4096").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("latex-4096").vocabulary_size == 4096


def test_no_such_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    with pytest.raises(BadInput, match=r"expected a tokenizer\.json in this folder"):
        load_tokenizer(str(tmp_path))

    def no_session() -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_session", no_session)
    with pytest.raises(BadInput) as error:
        load_tokenizer("some-lab/some-model")
    assert "expected latex-4096, lean-4096, a tokenizer.json or its folder" in str(error.value)


def test_the_light_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for make, *values in ((load_tokenizer, "latex-4096"), (train_tokenizer, ["a"], 300)):
        with pytest.raises(MissingDependency, match=r"needs pip install 'rmtscale\[measure\]'"):
            make(*values)


def test_the_committed_ones_can_be_made_again() -> None:
    """Of the training split of the data folder, where it is."""
    folder = os.environ.get("RMTSCALE_DATA")
    if not folder or not Path(folder, "latex").is_dir():
        pytest.skip("RMTSCALE_DATA names no folder with latex")
    documents = load_background(str(Path(folder, "latex")), "train")
    assert train_tokenizer(documents, 4096).digest == load_tokenizer("latex-4096").digest
