"""Packed documents: what was tokenized is what is read; half a folder or another one is refused."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks import packing
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.packing import Packed, open_packed, pack, packed_text
from rmtscale.study.tasks.task import SPLITS
from rmtscale.study.tasks.tokenizer import train_tokenizer
from tests.study.tasks.small_tokenizer import small_tokenizer, spoken_documents

FILES = ["packed.json", "starts.bin", "tokens.bin"]


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8))
def test_documents_are_what_they_were(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("packed") / "one"
    if not any(documents):
        with pytest.raises(BadInput, match=f"text of {len(documents)} documents: expected some"):
            pack(documents, small_tokenizer(), folder)
        assert names(folder.parent) == []
        return
    pack(documents, small_tokenizer(), folder)
    packed = open_packed(folder)
    ids = [small_tokenizer().encode(document).tolist() for document in documents]
    assert len(packed) == len(documents)
    assert [packed.document(index).tolist() for index in range(len(packed))] == ids
    assert packed.tokens.tolist() == [one for document in ids for one in document]
    assert packed.lengths.tolist() == [len(document) for document in ids]
    assert packed.tokens.dtype == np.uint16
    assert packed.starts.dtype == np.int64
    assert names(folder) == FILES


def test_tokens_stay_on_the_disk(tmp_path: Path) -> None:
    packed = pack(spoken_documents(), small_tokenizer(), tmp_path / "one")
    base = packed.tokens
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base  # type: ignore[assignment]
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        packed.tokens[0] = 1


def test_a_large_vocabulary_has_wide_ids(tmp_path: Path) -> None:
    """Two bytes are too few from 65,536 ids on."""
    tokenizer = train_tokenizer(["abc"], 300)
    for size, dtype in ((65_535, np.uint16), (65_536, np.uint32)):
        tokenizer.vocabulary_size = size
        packed = pack(["abc abc", "cab"], tokenizer, tmp_path / str(size))
        assert packed.tokens.dtype == dtype
        assert packed.document(1).tolist() == tokenizer.encode("cab").tolist()


def cut(folder: Path, name: str, size: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:size])


def turn(folder: Path, name: str, place: int) -> None:
    data = bytearray((folder / name).read_bytes())
    data[place] ^= 1
    (folder / name).write_bytes(data)


def say(folder: Path, **values: object) -> None:
    path = folder / "packed.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "torn tokens": (lambda f: cut(f, "tokens.bin", 10), "tokens.bin has 10 bytes instead of"),
    "torn starts": (lambda f: cut(f, "starts.bin", 8), "starts.bin has 8 bytes instead of"),
    "torn meaning": (lambda f: cut(f, "packed.json", 20), "packed.json cannot be read"),
    "no tokens": (lambda f: (f / "tokens.bin").unlink(), "tokens.bin cannot be read"),
    "a changed token": (lambda f: turn(f, "tokens.bin", 7), "its files are not what was written"),
    "a changed start": (lambda f: turn(f, "starts.bin", 9), "its files are not what was written"),
    "wider ids": (lambda f: say(f, dtype="uint32"), "tokens.bin has"),
    "strange ids": (lambda f: say(f, dtype="float16"), "names no type or no sizes"),
    "no sizes": (lambda f: say(f, tokens="many"), "names no type or no sizes"),
    "nothing": (lambda f: say(f, tokens=0), "names no type or no sizes"),
    "another version": (lambda f: say(f, format_version=0), "is not of version 1"),
    "a list": (lambda f: (f / "packed.json").write_text("[]"), "is not of version 1"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_folder_is_an_error(damage: str, tmp_path: Path) -> None:
    """In one line that says what to do; also where the cache would take it for its own."""
    source = tmp_path / "text.jsonl"
    source.write_text("".join(json.dumps({"text": one}) + "\n" for one in spoken_documents()))
    cache = tmp_path / "cache"
    packed_text(str(source), "train", small_tokenizer(), cache)
    (name,) = names(cache)
    harm, message = DAMAGES[damage]
    harm(cache / name)
    with pytest.raises(BadInput) as error:
        packed_text(str(source), "train", small_tokenizer(), cache)
    assert message in str(error.value)
    assert str(error.value).startswith(f"packed text {str(cache / name)!r}: damaged, ")
    assert str(error.value).endswith("delete it")
    shutil.rmtree(cache / name)
    assert len(packed_text(str(source), "train", small_tokenizer(), cache)) == 18


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a folder that pack made"):
        open_packed(tmp_path / "none")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder with a given split."""
    folder = tmp_path / "texts"
    folder.mkdir()
    documents = spoken_documents()
    for split, some in (("train", documents[:15]), ("validation", documents[15:])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in some)
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def test_text_is_tokenized_once(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each split is its own documents, none of the other's; the second time nothing is made."""
    cache, tokenizer = tmp_path / "cache", small_tokenizer()
    made = {split: packed_text(str(texts), split, tokenizer, cache) for split in SPLITS}
    for split, packed in made.items():
        documents = load_background(str(texts), split)
        found = [tokenizer.decode(packed.document(index)) for index in range(len(packed))]
        assert found == documents
    assert len(names(cache)) == 2

    def never(*_: object) -> Packed:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(packing, "pack", never)
    again = packed_text(str(texts), "train", tokenizer, cache)
    assert again.tokens.tolist() == made["train"].tokens.tolist()


def test_names_say_what_is_in_them(texts: Path, tmp_path: Path) -> None:
    """Digests only: not the source's name; another text or tokenizer has another."""
    cache, tokenizer = tmp_path / "cache", small_tokenizer()
    packed_text(str(texts), "train", tokenizer, cache)
    texts.rename(tmp_path / "moved")
    packed_text(str(tmp_path / "moved"), "train", tokenizer, cache)
    (first,) = names(cache)
    assert len(first) == 32
    assert int(first, 16) >= 0
    packed_text(str(tmp_path / "moved"), "train", train_tokenizer(["abc"], 300), cache)
    assert len(names(cache)) == 2
    lines = json.dumps({"text": "ab"}) + "\n" + json.dumps({"text": "c"}) + "\n"
    (tmp_path / "moved" / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    packed_text(str(tmp_path / "moved"), "train", tokenizer, cache)
    lines = json.dumps({"text": "a"}) + "\n" + json.dumps({"text": "bc"}) + "\n"
    (tmp_path / "moved" / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    packed_text(str(tmp_path / "moved"), "train", tokenizer, cache)
    assert len(names(cache)) == 4


def test_processes_that_start_at_once(texts: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; "
        "from rmtscale.study.tasks.packing import packed_text; "
        "from rmtscale.study.tasks.tokenizer import load_tokenizer; "
        "tokenizer = load_tokenizer('latex-4096'); input(); "
        "print(packed_text(sys.argv[1], 'train', tokenizer, Path(sys.argv[2])).starts[-1])"
    )
    command = [sys.executable, "-c", code, str(texts), str(cache)]
    racing = [Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(3)]
    for one in racing:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    found = {one.communicate(timeout=60)[0] for one in racing}
    assert len(found) == 1
    assert int(found.pop()) > 1000
    (name,) = names(cache)
    assert names(cache / name) == FILES


def test_who_comes_second_takes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both began when there was none: the first to finish stays, nothing is left lying about."""
    folder = tmp_path / "one"

    def documents() -> Iterator[str]:
        yield "abc"
        pack(["first"], small_tokenizer(), folder)

    packed = pack(documents(), small_tokenizer(), folder)
    assert small_tokenizer().decode(packed.tokens) == "first"
    assert names(tmp_path) == ["one"]


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    def documents() -> Iterator[str]:
        yield "abc"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(documents(), small_tokenizer(), tmp_path / "one")
    assert names(tmp_path) == []


def test_text_with_half_a_character(tmp_path: Path) -> None:
    lines = ['{"text": "whole"}\n', '{"text": "\\ud800"}\n']
    for split in SPLITS:
        (tmp_path / f"{split}.jsonl").write_text("".join(lines))
    with pytest.raises(BadInput, match=r"line 2: .*expected whole characters"):
        packed_text(str(tmp_path), "train", small_tokenizer(), tmp_path / "cache")
