"""Declarations: read from a file or found in this Python; what does not fit is said."""

from __future__ import annotations

import gzip
import inspect
import json
import os
import sysconfig
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.tasks import functions
from rmtscale.study.tasks.declaration import Declaration, training_texts
from rmtscale.study.tasks.declarations import load_declarations
from rmtscale.study.tasks.functions import python_functions
from rmtscale.study.tasks.names import named_spans
from rmtscale.study.tasks.tokenizer import load_tokenizer, train_tokenizer

LINES: list[dict[str, Any]] = [
    {"name": "a.one", "statement": "lemma one", "proof": "rfl", "uses": [], "file": "a"},
    {"name": "two", "statement": "lemma two", "proof": "one", "uses": [0], "file": "a"},
    {"name": "three", "statement": "∀ x", "proof": "", "uses": [1, 0], "file": "b"},
]


def write(path: Path, *changes: dict[str, Any]) -> str:
    """The lines with their splits and some changes, one for each line."""
    splits = ("train", "train", "validation")
    made = [{**line, "split": split} for line, split in zip(LINES, splits, strict=True)]
    for line, change in zip(made, changes, strict=False):
        line.update(change)
    text = "".join(json.dumps(line) + "\n" for line in made).encode()
    path.write_bytes(gzip.compress(text) if path.name.endswith(".gz") else text)
    return str(path)


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz"])
def test_a_file_of_declarations(name: str, tmp_path: Path) -> None:
    found = load_declarations(write(tmp_path / name, {"id": 0, "doc": None}))
    assert found == (
        Declaration("a.one", "lemma one", "rfl", (), "a", "train"),
        Declaration("two", "lemma two", "one", (0,), "a", "train"),
        Declaration("three", "∀ x", "", (1, 0), "b", "validation"),
    )
    assert training_texts(found) == ["lemma one\n\n:=\nrfl\n\n", "lemma two\n\n:=\none\n\n"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "line 2: expected a field 'name' with a text"),
        ({"statement": 1}, "line 2: expected a field 'statement' with a text"),
        ({"proof": None}, "line 2: expected a field 'proof' with a text"),
        ({"file": []}, "line 2: expected a field 'file' with a text"),
        ({"split": "dev"}, "line 2: split 'dev', expected one of train, validation, test"),
        ({"split": "test"}, "line 2: split 'test', expected 'train' as in the lines before of"),
        ({"uses": None}, "line 2: expected a field 'uses' with line numbers"),
        ({"uses": ["0"]}, "line 2: expected a field 'uses' with line numbers"),
        ({"uses": [True]}, "line 2: expected a field 'uses' with line numbers"),
        ({"uses": [-1]}, "line 2: expected a field 'uses' with line numbers"),
        ({"uses": [1]}, "line 2: expected uses of other lines, each once"),
        ({"uses": [0, 0]}, "line 2: expected uses of other lines, each once"),
        ({"uses": [0, 3]}, "line 2: uses 3, expected less than 3, the lines there are"),
    ],
)
def test_lines_that_are_no_declaration(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "d.jsonl", {}, change)
    with pytest.raises(BadInput) as error:
        load_declarations(source)
    assert str(error.value).startswith(f"declarations {source!r}, {message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", b"{", "line 1: expected JSON"),
        ("d.jsonl", b"[]\n", "line 1: expected an object"),
        ("d.jsonl", b"\xff\n", "cannot be read"),
        ("d.jsonl.gz", b"{}\n", "cannot be read"),
        (
            "d.jsonl.gz",
            gzip.compress(b"{}\n" * 99, mtime=0)[:-9],
            "expected a field 'name'|cannot be read",
        ),
        ("d.txt", b"{}\n", "expected python, or a .jsonl or .jsonl.gz file of them"),
    ],
)
def test_files_that_cannot_be_used(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message):
        load_declarations(str(tmp_path / name))
    with pytest.raises(BadInput, match="expected python, or"):
        load_declarations(str(tmp_path))


def test_the_functions_of_this_python() -> None:
    found = load_declarations()
    assert found is python_functions()
    assert 2000 < len(found) < 20_000
    assert len({one.name for one in found}) == len(found)
    assert sum(bool(one.uses) for one in found if one.split == "train") > 1000
    assert sum(bool(one.uses) for one in found if one.split == "validation") > 50
    assert all(one.statement.startswith(("def ", "async def ")) and one.proof for one in found)


def test_a_function_as_it_is_written() -> None:
    """Against the source that ``inspect`` finds."""
    named = {one.name: one for one in python_functions()}
    for function in (textwrap.dedent, textwrap.TextWrapper.wrap, inspect.getsource):
        one = named[f"{function.__module__}.{function.__qualname__}"]
        source = textwrap.dedent(inspect.getsource(function))
        said = (inspect.getdoc(function) or "").splitlines()[0]
        signature, doc = one.statement.rsplit("\n", 1)
        assert source.startswith(signature)
        assert doc == f'    """{said}"""'
        assert source.rstrip().endswith(textwrap.indent(one.proof, "    "))
        assert said not in one.proof
        assert one.file == f"{function.__module__}.py"
    wrap = named["textwrap.TextWrapper.wrap"]
    assert [python_functions()[use].name for use in wrap.uses] == [
        f"textwrap.TextWrapper.{name}"
        for name in ("_split_chunks", "_fix_sentence_endings", "_wrap_chunks")
    ]


def test_what_a_function_uses_is_named_in_it() -> None:
    """In the order of ``uses``, and never itself."""
    found = python_functions()
    for place, one in enumerate(found):
        assert place not in one.uses
        for use in one.uses:
            assert named_spans(one.proof, [found[use].name]), (one.name, found[use].name)


def test_a_file_is_on_one_side() -> None:
    sides = defaultdict(set)
    for one in python_functions():
        sides[one.file].add(one.split)
    assert all(len(splits) == 1 for splits in sides.values())


MODULE = '''
import os.path as p, other
from shelf import take, put as lay


@decorate
def first(
    a,  # a sum
    b="x",
):
    """Says.

    More.
    """
    return lay(a) + take(b)


def bare(): return first(1)


def only_said():
    """Nothing else."""


class Box:
    size = 1

    async def open(self):
        # What is written stays.
        @decorate(take)
        def inner():
            return other.thing(self.close(), p.join())
        return first(first(1)), Box.close(self)

    @property
    def close(self):
        x = 1

        return self.open(unknown())

    @close.setter
    def close(self, value):
        first()
'''


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of a few files."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(functions, "python_functions", functions.python_functions.__wrapped__)
    return tmp_path


def test_every_kind_of_function(library: Path) -> None:
    (library / "mine.py").write_text(MODULE)
    (library / "other.py").write_text("raise SystemExit\ndef thing(x):\r\n  return x\n")
    (library / "shelf.py").write_text("def take(x):\n    pass\n\ndef put(x):\n    pass\n")
    (library / "torn.py").write_text("def torn(:\n")
    (library / "latin.py").write_bytes(b"# \xe9\ndef latin():\n    pass\n")
    (library / "deep").mkdir()
    (library / "deep" / "down.py").write_text("def deep():\n    pass\n")
    found = functions.python_functions()
    names = [one.name for one in found]
    assert names == [
        *("mine.first", "mine.Box.open", "mine.Box.close", "other.thing"),
        *("shelf.take", "shelf.put"),
    ]
    first, opened, closed, thing = found[:4]
    assert first.statement == ('def first(\n    a,  # a sum\n    b="x",\n):\n    """Says."""')
    assert first.proof == "return lay(a) + take(b)"
    assert opened.statement.splitlines()[0] == "async def open(self):"
    assert opened.proof.startswith("@decorate(take)\ndef inner():\n    return other.thing(")
    assert closed.proof == "x = 1\n\nreturn self.open(unknown())"
    assert (thing.statement, thing.proof) == ("def thing(x):", "return x")
    uses = {one.name: [names[use] for use in one.uses] for one in found}
    assert (
        uses
        == {
            "mine.first": ["shelf.take"],  # lay is not what the lemma is called
            "mine.Box.open": ["other.thing", "mine.Box.close", "mine.first"],
            "mine.Box.close": ["mine.Box.open"],
            **{name: [] for name in names[3:]},
        }
    )


def test_a_python_without_its_source(library: Path) -> None:
    with pytest.raises(BadInput, match="declarations 'python': this Python came without the sou"):
        functions.python_functions()


def test_nothing_is_run(library: Path) -> None:
    trace = library / "trace"
    code = f"open({str(trace)!r}, 'w')\n"
    (library / "mine.py").write_text(f"{code}def one(x={code.strip()}):\n    pass\n")
    assert [one.name for one in functions.python_functions()] == ["mine.one"]
    assert not trace.exists()


def test_mathlib() -> None:
    """The data folder, where it is: all there, every use named in the proof, one tokenizer."""
    folder = os.environ.get("RMTSCALE_DATA")
    if not folder or not Path(folder, "mathlib").is_dir():
        pytest.skip("RMTSCALE_DATA names no folder with mathlib")
    found = load_declarations(str(Path(folder, "mathlib", "decls.jsonl.gz")))
    counts = {split: sum(one.split == split for one in found) for split in ("train", "test")}
    assert (len(found), counts) == (97_470, {"train": 88_412, "test": 4_538})
    for one in found[::23]:
        for use in one.uses:
            assert named_spans(one.proof, [found[use].name])
    tokenizer = train_tokenizer(training_texts(found), 4096)
    assert tokenizer.digest == load_tokenizer("lean-4096").digest
