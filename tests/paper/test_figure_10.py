"""Figure 10 from records: each claim can pass, fail, and be not measurable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.records.measurement import Memory
from rmtscale.records.record import Record
from rmtscale.report.claims import Claim
from rmtscale.report.series import group_records
from rmtscale.study.figures.figure_10 import claims as experiment
from tests.command_line import Command
from tests.synthetic.records import LENGTHS, figure_10, inference, point, record

pytestmark = pytest.mark.usefixtures("unpainted")


def claims(records: Sequence[Record]) -> dict[str, Claim]:
    groups = group_records(records)
    group = experiment.training_group(groups)
    return {claim.text: claim for claim in experiment.check_claims(group, groups)}


def one(found: dict[str, Claim], *words: str) -> Claim:
    (claim,) = [found[text] for text in found if all(word in text for word in words)]
    return claim


def test_all_hold_as_predicted() -> None:
    found = claims([*figure_10(), *inference()])
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert one(found, "out of memory").ours == "7,000; out of memory at 8,000"
    assert one(found, "RMT 500", "faster").ours.startswith(
        "between 1,000 and 2,000; x1.82 at 7,000"
    )
    assert len(found) == 12


def test_a_larger_card_does_not_run_out() -> None:
    larger = figure_10(memory_limit_bytes=None)
    found = claims(larger)
    assert one(found, "out of memory").outcome == "not measurable"
    assert one(found, "out of memory").ours == "the limit here is 140.0 GiB"


def test_it_runs_out_elsewhere() -> None:
    records = [
        record(each.point, outcome="oom", event_time=None, memory=None)
        if each.point.method == "full" and each.point.tokens >= 6000
        else each
        for each in figure_10()
    ]
    claim = one(claims(records), "out of memory")
    assert (claim.outcome, claim.ours) == ("fail", "5,000; out of memory at 6,000")


def test_a_crash_is_no_out_of_memory() -> None:
    records = [
        record(each.point, outcome="crashed", event_time=None, memory=None)
        if each.point.method == "full" and each.point.tokens == 8000
        else each
        for each in figure_10()
    ]
    assert one(claims(records), "out of memory").outcome == "not measurable"


def test_a_slow_rmt_fails() -> None:
    records = [
        record(each.point, slower=9.0) if each.point.method == "rmt" else each
        for each in figure_10(range(1000, 8000, 1000))
    ]
    claim = one(claims(records), "RMT 500", "faster")
    assert (claim.outcome, claim.ours.split(";")[0]) == ("fail", "not by 7,000")


def test_growing_memory_at_inference_fails() -> None:
    grown = [
        record(each.point, memory=Memory(peak_allocated_bytes=10**6 * each.point.tokens))
        for each in inference()
    ]
    assert one(claims([*figure_10(), *grown]), "constant").outcome == "fail"


def test_short_sweeps_are_not_measurable() -> None:
    found = claims(figure_10([1000, 2000]))
    assert {claim.outcome for claim in found.values()} == {"not measurable"}
    only_full = claims([each for each in figure_10() if each.point.method == "full"])
    assert one(only_full, "RMT: faster").outcome == "not measurable"


def test_what_differs_is_said() -> None:
    groups = group_records(figure_10(memory_limit_bytes=None))
    group = experiment.training_group(groups)
    said = " ".join(experiment.explain(group, experiment.check_claims(group, groups)))
    assert "the paper's card is an A100 80GB" in said
    assert "Not measurable: full attention: out of memory at 8,000 tokens" in said


def test_reproduce_writes_everything(rmtscale: Command, tmp_path: Path) -> None:
    path, out = tmp_path / "made.jsonl", tmp_path / "out"
    path.write_text("".join(each.to_line() + "\n" for each in figure_10()), encoding="utf-8")
    done = rmtscale("reproduce", "figure-10", "--records", str(path), "-o", str(out))
    assert done.code == 0
    assert "11 of 12 claims hold, 1 are not measurable" in done.out
    assert (out / "figure-10.png").exists()
    page = (out / "index.html").read_text(encoding="utf-8")
    readme = (out / "README.md").read_text(encoding="utf-8")
    groups = group_records(figure_10())
    for claim in experiment.check_claims(groups[0], groups):
        assert claim.ours in page
        assert claim.ours in readme
    assert rmtscale("reproduce", "figure-10", "--records", str(path), "-o", str(out)).code == 2


def test_missing_records_name_the_command(rmtscale: Command, tmp_path: Path) -> None:
    done = rmtscale(
        "reproduce", "figure-10", "--records", str(tmp_path / "none.jsonl"), "-o", str(tmp_path)
    )
    assert done.code == 2
    assert "rmtscale profile profiles/sweeps/figure-10.toml --out" in done.err
    assert done.err.count("\n") == 1
    done = rmtscale("reproduce", "figure-2", "--records", "x.jsonl", "-o", str(tmp_path))
    assert (done.code, "figure-2 is not made from records, expected figure-4" in done.err) == (
        2,
        True,
    )


def test_records_of_something_else() -> None:
    with pytest.raises(BadInput, match="expected gpt2, train, fp32"):
        experiment.training_group(group_records([record(point(precision="bf16"))]))


def test_the_lengths_are_the_papers() -> None:
    from rmtscale.profiler.presets import PRESETS

    assert list(LENGTHS) == PRESETS["figure-10"]["grid"][0]["tokens"]
