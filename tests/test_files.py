"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.files import make_folder, require_writable, whole_folder, write_all, write_whole


def test_a_file_and_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    require_writable([path], force=False)
    write_whole(path, "one\n")
    write_whole(path, b"two\n")
    assert path.read_bytes() == b"two\n"
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    write_whole(path, "mine")
    with pytest.raises(BadInput, match="exists already, expected --force"):
        require_writable([path], force=False)
    require_writable([path], force=True)


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "mine")
    with pytest.raises(BadInput, match="is not a folder"):
        require_writable([tmp_path / "a" / "b" / "c"], force=True)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.txt"
    write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="cannot be written \\(No space left on device\\)"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with whole_folder(folder) as part:
        (part / "one.txt").write_text("one")
        assert not folder.exists()
    assert (folder / "one.txt").read_text() == "one"
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask()
    assert [one.name for one in folder.parent.iterdir()] == ["b"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_that_came_first_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with whole_folder(folder) as part:
        (part / "one.txt").write_text("mine")
        write_whole(folder / "one.txt", "theirs")
    assert (folder / "one.txt").read_text() == "theirs"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file of its name, or one on the way; whatever else goes wrong is not hidden."""
    write_whole(tmp_path / "a", "mine")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(BadInput, match="cannot be written"), whole_folder(folder) as part:
            (part / "one.txt").write_text("one")
    with pytest.raises(RuntimeError, match="else"), whole_folder(tmp_path / "c"):
        raise RuntimeError("else")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_all_or_nothing(tmp_path: Path) -> None:
    write_all(tmp_path, {"a.txt": "one\n", "b.png": b"two"}, force=False)
    with pytest.raises(BadInput, match="exists already"):
        write_all(tmp_path, {"c.txt": "three\n", "a.txt": "other\n"}, force=False)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "a.txt": b"one\n",
        "b.png": b"two",
    }


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    write_whole(tmp_path / "c", "a file")
    for folder in (tmp_path / "c", tmp_path / "c" / "d"):
        with pytest.raises(BadInput, match=r"cannot be made .*, expected another place"):
            make_folder(folder)
