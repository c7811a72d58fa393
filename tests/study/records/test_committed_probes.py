"""What pages say of a probe is what the command prints of the committed record."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmtscale.cli.evaluate_probe import told
from rmtscale.study.records.evaluation import EvaluationStore

REPORTS = Path(__file__).parents[3] / "reports"
COMMITTED = sorted(REPORTS.glob("**/margins*.jsonl"))


def words(text: str) -> str:
    return " ".join(text.split())


def test_there_are_some() -> None:
    assert {path.parent.name for path in COMMITTED} == {"longer-burn-ins", "tried"}


def test_none_has_another_name() -> None:
    """A file of another name would not be held against its page."""
    every = REPORTS.glob("**/*.jsonl")
    assert {path for path in every if b'"probe":{' in path.read_bytes()} == set(COMMITTED)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(REPORTS)))
def test_the_page_beside_it_says_it(path: Path) -> None:
    reading = EvaluationStore(path).read()
    assert not reading.warnings()
    page = words((path.parent / "README.md").read_text(encoding="utf-8"))
    assert path.name in page
    probed = [record for record in reading.latest().values() if record.probe is not None]
    assert probed
    for record in probed:
        assert record.probe is not None
        assert record.probe.segments == record.point.segments
        assert record.probe.after_segments[-1].correct == record.correct
        assert words(told(record.probe)) in page
