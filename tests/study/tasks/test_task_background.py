"""Background text: every source reads, refuses in one line, and shares nothing when split."""

from __future__ import annotations

import ast
import gzip
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.study.tasks import documentation
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.splitting import split_documents, without_shared
from tests.study.tasks.made_noise import made_documents


def words_of(text: str) -> list[str]:
    """Lower-cased, stripped of whatever is no letter or digit."""
    return "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()


def runs(
    documents: list[str], size: int = 10, words: Callable[[str], list[str]] = words_of
) -> set[tuple[str, ...]]:
    """Every run of ten words of every document."""
    found = set()
    for document in documents:
        own = words(document)
        found |= {tuple(own[i : i + size]) for i in range(len(own) - size + 1)}
    return found


def lines(texts: tuple[str, ...]) -> bytes:
    return "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in texts).encode()


def test_the_documentation_of_this_python() -> None:
    train, validation = (load_background("python", split) for split in ("train", "validation"))
    assert sum(len(text.split()) for text in train) > 100_000
    assert sum(len(text.split()) for text in validation) > 10_000
    assert len(set(train) | set(validation)) == len(train) + len(validation)
    assert load_background() == train
    assert not runs(train) & runs(validation)


NESTED = """
class Outer:
    class Inner:
        async def method(self): ...
if x:
    def a(): ...
elif y:
    def b(): ...
else:
    def c(): ...
try:
    def d(): ...
except E:
    def e(): ...
else:
    class F: ...
finally:
    def g(): ...
for i in j:
    with k, l:
        def m(): ...
else:
    def n(): ...
while o:
    match p:
        case 1:
            def q(): ...
        case _ if (lambda: 2)():
            def r(): ...
"""


@pytest.mark.parametrize("source", [NESTED, *(inspect.getsource(one) for one in (typing, inspect))])
def test_statements_alone_hold_all_docstrings(source: str) -> None:
    """What may have one, in the order in which the whole tree is walked."""
    tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    every = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert list(documentation.documented(tree)) == every
    assert len(every) > 13


def test_documentation_quotes_itself() -> None:
    """Without the cut there would be shared runs: the test above can fail."""
    documents = documentation.python_documents()
    assert runs(documents[::2]) & runs(documents[1::2])


def test_a_python_without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "library_texts", lambda: ("only one",))
    with pytest.raises(BadInput, match="text 'python': this Python came without text"):
        load_background("python")


def test_a_folder_of_texts(tmp_path: Path) -> None:
    for number, text in enumerate(made_documents()):
        folder = tmp_path / str(number % 3)
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "notes.md").write_text("no text of ours", encoding="utf-8")
    train, validation = (load_background(str(tmp_path), one) for one in ("train", "validation"))
    assert len(train) == 18
    assert len(validation) == 2
    seen = sorted(words_of(" ".join(train + validation)))
    assert seen == sorted(words_of(" ".join(made_documents())))
    assert not runs(train) & runs(validation)
    (tmp_path / "0" / "0.txt").rename(tmp_path / "another_name.txt")
    assert sorted(load_background(str(tmp_path), "train")) == sorted(train)


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.jsonl.gz"])
def test_one_file_of_lines(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = lines(made_documents()) + b"\n"
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    train, validation = (load_background(str(path), split) for split in ("train", "validation"))
    assert set(train) < set(made_documents())
    assert len(train) + len(validation) == 20
    assert not runs(train) & runs(validation)


def test_a_given_split_stands_as_it_is(tmp_path: Path) -> None:
    texts = made_documents()
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(lines(texts[:3])))
    (tmp_path / "validation.jsonl").write_bytes(lines(texts[3:5]))
    assert load_background(str(tmp_path), "train") == list(texts[:3])
    assert load_background(str(tmp_path), "validation") == list(texts[3:5])
    (tmp_path / "validation.jsonl").write_text("\n")
    with pytest.raises(BadInput, match="no text in its validation file"):
        load_background(str(tmp_path), "validation")


def test_the_prose_of_the_experiments() -> None:
    """The data folder, where it is: given splits, which share nothing as they stand.

    By words as they are written; one run of ten is the same but for its marks ("I don't know what
    you're talking about" is ten words once the apostrophes are gone).
    """
    folder = os.environ.get("RMTSCALE_DATA")
    if not folder:
        pytest.skip("RMTSCALE_DATA names no folder with prose")
    prose = str(Path(folder, "prose"))
    train, validation = (load_background(prose, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (202, 30)
    known = runs(validation, words=str.split)
    for document in train:
        assert not runs([document], words=str.split) & known


def test_what_documents_quote_is_cut_out() -> None:
    quoted = "This sentence of exactly twelve words stands in both of the documents."
    own = "Nobody else says anything like what is being said right here, I hope."
    train = [f"Something first. {quoted} Something last."]
    assert without_shared(train, [f"{own} {quoted}"]) == [own]
    assert without_shared(train, [quoted.upper().replace(" ", ", ")]) == []
    assert without_shared(train, ["Too short to share.", own]) == ["Too short to share.", own]


def test_what_closes_ranks_is_cut_out_too() -> None:
    """Taking one sentence out brings two others together; that run may be in training."""
    train = ["One two three four five. Six seven eight nine ten.", "A b c d e f g h i j k."]
    validation = ["One two three four five. A b c d e f g h i j k. Six seven eight nine ten. Own."]
    (left,) = without_shared(train, validation)
    assert left == "Own."


def test_a_document_twice_is_on_one_side() -> None:
    texts = list(made_documents())
    once = split_documents(texts, "train", "here"), split_documents(texts, "validation", "here")
    twice = [split_documents(texts * 2, split, "here") for split in ("train", "validation")]
    assert list(once) == twice
    assert split_documents(texts[::-1], "train", "here") == once[0]


def test_validation_that_only_quotes() -> None:
    long = "the same ten words and more stand in the two documents here"
    with pytest.raises(BadInput, match="expected documents that do not repeat one another"):
        split_documents([f"{long}.", f"{long}!"], "validation", "here")


@pytest.mark.parametrize("content", [b"", b'{"text": "one"}\n', b'{"text": "one"}\n' * 2])
def test_nothing_to_split(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"few\.jsonl' of [01] documents: expected 2 or more"):
        load_background(str(path), "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "one"}\nno json\n', "line 2: expected JSON"),
        (b'{"texts": "one"}\n', "line 1: expected an object with a field 'text'"),
        (b'["text"]\n', "line 1: expected an object with a field 'text'"),
        (b'{"text": 5}\n', "line 1: expected an object with a field 'text'"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_lines_that_cannot_be_used(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        load_background(str(path), "train")
    assert str(error.value).startswith(f"text {str(path)!r}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(lines(made_documents()), mtime=0)[:-50]]
)
def test_a_broken_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read"):
        load_background(str(path), "train")


def test_a_text_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadInput, match=r"bad\.txt': cannot be read"):
        load_background(str(tmp_path), "train")


@pytest.mark.parametrize("source", ["", "pyton", "/no/such/folder", "hub:wikitext"])
def test_an_unknown_source(source: str) -> None:
    with pytest.raises(BadInput, match=r"expected python, a \.jsonl or \.jsonl\.gz file, a folder"):
        load_background(source, "train")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected python, a"):
        load_background(str(tmp_path), "train")


def test_an_unknown_split() -> None:
    with pytest.raises(BadInput, match="split 'test': expected one of train, validation"):
        load_background("python", "test")


def fake_datasets(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[str, str | None]]:
    """A ``datasets`` whose ``load_dataset`` gives ``answer``, and what it was asked."""
    asked = []

    def load_dataset(name: str, config: str | None) -> Any:
        asked.append((name, config))
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = made_documents()
    split = {"train": {"text": [*texts[:5], " "]}, "validation": {"text": texts[5:7]}}
    asked = fake_datasets(monkeypatch, split)
    assert load_background("hf:some/name:small", "train") == list(texts[:5])
    assert load_background("hf:some/name", "validation") == list(texts[5:7])
    assert asked == [("some/name", "small"), ("some/name", None)]
    fake_datasets(monkeypatch, {"train": {"text": texts}})
    train, validation = (load_background("hf:name", one) for one in ("train", "validation"))
    assert len(train) + len(validation) == 20
    assert not runs(train) & runs(validation)


@pytest.mark.parametrize(
    "answer", [OSError("no route to host\nand more"), {"test": {"text": []}}, {"train": {}}]
)
def test_a_data_set_that_gives_no_text(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_datasets(monkeypatch, answer)
    with pytest.raises(BadInput, match="'hf:name': expected a data set with a split 'train'") as e:
        load_background("hf:name", "train")
    assert "\n" not in str(e.value)


def test_no_library_of_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    needed = r"text 'hf:name': needs pip install 'rmtscale\[text\]'"
    with pytest.raises(MissingDependency, match=needed):
        load_background("hf:name", "train")
