"""Claims on points: one holder at a time, the dead are followed, and one record each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.records.claims import Claim, Claims, Finished, folder_of


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    made = Claims(folder_of(tmp_path / "x.jsonl"), lease_seconds=100)
    made.open()
    return made


def rewrite(claims: Claims, claim: Claim, **changed: object) -> Path:
    """Writes another holder into a claim."""
    path = claims.folder / f"{claim.name}.{claim.number}.claim"
    about = json.loads(path.read_text()) | changed
    path.write_text(json.dumps(about))
    return path


def test_a_point_is_taken_once(claims: Claims) -> None:
    first = claims.take("a")
    assert first is not None
    assert claims.take("a") is None
    other = claims.take("b")
    assert other is not None
    assert other.name != first.name
    about = json.loads(next(claims.folder.glob(f"{first.name}.1.claim")).read_text())
    assert about["process"].startswith(f"{os.getpid()} ")
    assert (about["lease_seconds"], about["key"]) == (100, "a")


def test_the_first_record_counts_and_ends_the_point(claims: Claims) -> None:
    claim = claims.take("a")
    assert claim is not None
    assert claims.commit(claim, "first")
    assert not claims.commit(claim, "second")
    assert claims.records() == ["first"]
    assert claims.take("a") is None


def test_a_dead_process_of_this_host_is_followed_at_once(claims: Claims) -> None:
    claim = claims.take("a")
    assert claim is not None
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    rewrite(claims, claim, process=f"{done.pid} 12345")
    following = claims.take("a")
    assert following == Claim(claim.name, 2)
    # Another one that had found the first claim dead too comes too late.
    assert claims.take("a") is None


def test_the_same_number_of_another_process_is_not_it(claims: Claims) -> None:
    claim = claims.take("a")
    assert claim is not None
    rewrite(claims, claim, process=f"{os.getpid()} 1")
    assert claims.take("a") == Claim(claim.name, 2)


def test_another_host_is_followed_when_its_time_is_over(claims: Claims) -> None:
    claim = claims.take("a")
    assert claim is not None
    path = rewrite(claims, claim, host="elsewhere", process="1 1")
    assert claims.take("a") is None
    long_ago = path.stat().st_mtime - 101
    os.utime(path, (long_ago, long_ago))
    assert claims.take("a") == Claim(claim.name, 2)


def test_a_claim_that_is_none_is_refused(claims: Claims) -> None:
    claim = claims.take("a")
    assert claim is not None
    path = claims.folder / f"{claim.name}.1.claim"
    for text in ("{}", "[1]", '{"host": 1, "process": 2, "lease_seconds": "x"}'):
        path.write_text(text)
        with pytest.raises(BadInput, match="expected one of rmtscale profile"):
            claims.take("a")


def test_one_finishes_and_the_folder_is_gone(claims: Claims) -> None:
    claim = claims.take("a")
    assert claim is not None
    claims.commit(claim, "line")
    written: list[str] = []
    other = Claims(claims.folder, 100)
    assert claims.finish(written.extend)
    assert written == ["line"]
    assert list(claims.folder.parent.iterdir()) == []
    for use in (
        lambda: other.take("b"),
        other.records,
        lambda: other.commit(claim, "x"),
        lambda: other.finish(written.extend),
    ):
        with pytest.raises(Finished):
            use()
    assert written == ["line"]


def test_who_dies_while_finishing_is_followed(claims: Claims) -> None:
    def fail(_: list[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claims.finish(fail)
    assert not claims.finish(lambda _: None), "this process lives still"
    for path in claims.folder.glob("*.claim"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"process": "1 1"}))
    assert claims.finish(lambda _: None)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        Claims(tmp_path / "file" / "x.claims", 1).open()
