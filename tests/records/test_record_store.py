"""The file of records: whatever happens while writing, what was there before can be read."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path / "folder" / "records.jsonl")


def test_whatever_was_measured_and_kept_is_read() -> None:
    profiles = Path(__file__).parents[2] / "profiles"
    measured = [
        path
        for path in sorted(profiles.rglob("*.jsonl"))
        if {"point", "protocol", "measured"} <= set(json.loads(path.open().readline()))
    ]
    assert {path.parent.name for path in measured} >= {"bench", "nvidia-h200", "nvidia-h200-x2"}
    for path in measured:
        reading = RecordStore(path).read()
        assert reading.records
        assert not reading.damaged_lines, f"{path.name}: {reading.first_damage}"


def test_nothing_there_is_no_records(store: RecordStore) -> None:
    assert store.read().records == ()
    assert not store.path.parent.exists()


def test_appended_and_read(store: RecordStore, record: Callable[..., Record]) -> None:
    first, second = record(), record(outcome="oom", wall_time=None)
    store.append(first)
    store.append(second)
    reading = store.read()
    assert reading.records == (first, second)
    assert reading.warnings() == []
    assert reading.latest() == {first.point.key: second}


def test_a_torn_last_line_is_skipped_then_repaired(
    store: RecordStore, record: Callable[..., Record]
) -> None:
    store.append(record())
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + whole[: len(whole) // 2])
    reading = store.read()
    assert len(reading.records) == 1
    assert reading.torn
    assert reading.warnings() == ["skipped 1 torn line at the end"]
    store.append(record(outcome="oom"))
    reading = store.read()
    assert [one.measured.outcome for one in reading.records] == ["ok", "oom"]
    assert reading.damaged_lines == (2,)
    assert not reading.torn
    assert store.path.read_bytes().startswith(whole)


def test_damaged_lines_are_counted(store: RecordStore, record: Callable[..., Record]) -> None:
    store.append(record())
    with store.path.open("ab") as file:
        file.write(b'{"schema_version": 1}\n\xff\xfe\n\n[]\n')
    store.append(record())
    reading = store.read()
    assert len(reading.records) == 2
    assert reading.damaged_lines == (2, 3, 5)
    assert reading.first_damage == "measured_at: missing"
    assert reading.warnings() == ["skipped 3 damaged lines, the first is 2"]


def test_another_schema_version_is_an_error(
    store: RecordStore, record: Callable[..., Record]
) -> None:
    store.append(record())
    with store.path.open("a") as file:
        file.write(record().to_line().replace('"schema_version":1', '"schema_version":9') + "\n")
    with pytest.raises(BadInput, match="line 2: schema version 9: expected 1"):
        store.read()


def test_two_writers_lose_nothing(store: RecordStore, record: Callable[..., Record]) -> None:
    """Two processes of four threads each; every append opens the file anew."""
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from rmtscale.records.store import RecordStore
record = RecordStore.parse_line(sys.stdin.read())
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: RecordStore(Path(sys.argv[1])).append(record), range(100)))
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(store.path)], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one.communicate(record().to_line().encode()), writers))
    reading = store.read()
    assert reading.records == (record(),) * 200
    assert reading.warnings() == []


def test_a_full_disk_loses_nothing(store: RecordStore, record: Callable[..., Record]) -> None:
    """The system stops the write in the middle of a line (a limit on the file's size)."""
    store.append(record())
    whole = store.path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, before[1]))
    try:
        with pytest.raises(BadInput, match=r"cannot be written \(No space.*before is kept"):
            store.append(record())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.path.read_bytes() == whole
    store.append(record())
    assert len(store.read().records) == 2


def test_a_really_full_disk(tmp_path: Path, record: Callable[..., Record]) -> None:
    """A file system of 16 KiB, where the user may make one."""
    code = f"""
import sys
from pathlib import Path
from rmtscale.errors import BadInput
from rmtscale.records.store import RecordStore
record = RecordStore.parse_line(sys.stdin.read())
store = RecordStore(Path({str(tmp_path)!r}) / "records.jsonl")
for written in range(100):
    try:
        store.append(record)
    except BadInput as error:
        reading = store.read()
        assert len(reading.records) == written and not reading.torn
        print(written, error)
        break
"""
    mount = f'mount -t tmpfs -o size=16k none {tmp_path} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, sys.executable, code],
        input=record().to_line(),
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system of one's own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    written, _, message = done.stdout.partition(" ")
    assert int(written) > 1
    assert "No space left on device" in message


def test_flushed_before_it_returns(
    store: RecordStore, record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    write, fsync = os.write, os.fsync

    def noted_write(*given: Any) -> int:
        calls.append("write")
        return write(*given)

    def noted_fsync(*given: Any) -> None:
        calls.append("fsync")
        fsync(*given)

    monkeypatch.setattr(os, "write", noted_write)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    store.append(record())
    assert calls == ["write", "fsync"]


def test_a_path_that_cannot_be_written(tmp_path: Path, record: Callable[..., Record]) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        RecordStore(tmp_path).append(record())
    with pytest.raises(BadInput, match="this is a folder"):
        RecordStore(tmp_path).read()


def test_another_content_takes_the_place_of_the_whole_file(
    store: RecordStore, record: Callable[..., Record]
) -> None:
    first, second = record(), record()
    store.append(first)
    anew = RecordStore(store.path, anew=True)
    assert anew.read().records == ()
    assert store.read().records == (first,)
    anew.append(second)
    anew.append(first)
    assert anew.read().records == store.read().records == (second, first)
    store.rewrite([first])
    assert store.read().records == (first,)
