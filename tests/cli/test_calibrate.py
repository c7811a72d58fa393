"""``rmtscale calibrate`` and ``plan --calibration``: what they write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rmtscale.costs.time.measured import MeasuredCollective, to_line
from rmtscale.specs.link_speed import KINDS
from tests.command_line import Command

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "profiles" / "nvidia-h200"
RECORDS = str(FOLDER / "gpt2-train.jsonl")
OPERATORS = str(FOLDER / "operators.jsonl")
PLAN = ("plan", "--model", "gpt2", "--segment-size", "1000", "--mode", "train")


def test_records_only_try_constants(rmtscale: Command) -> None:
    done = rmtscale("calibrate", RECORDS, "--format", "json")
    rows = json.loads(done.out)["rows"]
    assert (done.code, done.err) == (0, "")
    assert rows[0]["points"] > 20
    assert {row["bound"] for row in rows} >= {"device", "host"}
    assert {row["model"] for row in rows} == {"", "gpt2"}
    assert "No constant was found" in rmtscale("calibrate", RECORDS).out


def test_a_plan_with_constants_that_were_measured(rmtscale: Command, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    done = rmtscale("calibrate", "--operators", OPERATORS, "--out", str(path))
    assert (done.code, done.err) == (0, "")
    known, own = (
        json.loads(rmtscale(*PLAN, "--device", "h200", *more, "--format", "json").out)["rows"]
        for more in ((), ("--calibration", str(path)))
    )
    assert known == own, "the package has the same"
    assert {row["time"] for row in known} == {"measured"}
    other = rmtscale(*PLAN, "--device", "a100-80gb", "--calibration", str(path))
    assert (other.code, "is of h200, expected a100-80gb" in other.err) == (2, True)
    plain = json.loads(rmtscale(*PLAN, "--device", "a100-80gb", "--format", "json").out)["rows"]
    assert {row["time"] for row in plain} == {"datasheet"}


def test_links_are_fitted_written_and_planned_with(rmtscale: Command, tmp_path: Path) -> None:
    measured = [
        MeasuredCollective(kind, 2, size, 1e-5 + size / 1e11, 1e-5 + size / 1e11, 2e-5)
        for kind in KINDS
        for size in (4**power for power in range(5, 15))
    ]
    raw, path = tmp_path / "links.jsonl", tmp_path / "machine.json"
    raw.write_text("".join(f"{to_line(one)}\n" for one in measured))
    done = rmtscale("calibrate", "--operators", str(raw), "--out", str(path))
    assert (done.code, done.err) == (0, "")
    assert "all reduce" in done.out
    assert "of the datasheet" in done.out
    ask = ("-d", "h200", "--gpus", "2", "--layout", "tp2", "--tokens", "2k", "--format", "json")
    steps = []
    for more in ((), ("--calibration", str(path))):
        found = rmtscale("plan", "-m", "opt-1.3b", "--mode", "train", *ask, *more)
        assert (found.code, found.err) == (0, "")
        steps.append(json.loads(found.out)["rows"][0])
    known, own = steps
    assert own["seconds"] > known["seconds"], "these links are slow"
    # A long input is bound by the device: all of it was measured, and so are its links.
    long = ("-d", "h200", "--gpus", "2", "--layout", "tp2", "--tokens", "64k", "--format", "json")
    found = rmtscale("plan", "-m", "opt-1.3b", "--mode", "train", *long, "--calibration", str(path))
    row = json.loads(found.out)["rows"][0]
    assert row["seconds_at_most"] / row["seconds_at_least"] == pytest.approx(1.15**2, rel=0.05)
    said = rmtscale("estimate", "-m", "opt-1.3b", *ask[:-2], "--calibration", str(path)).out
    assert "calibrate --measure found of them" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate", RECORDS, "--links-only"), "--links-only: expected with --measure"),
        (("calibrate",), "nothing to do: expected files of records"),
        (("calibrate", "none.jsonl"), "records 'none.jsonl': no such file"),
        (("calibrate", RECORDS, "--device", "l4"), "expected those of rmtscale profile on it"),
        (("calibrate", RECORDS, "--out", RECORDS), "exists already, expected --force"),
        (("calibrate", RECORDS, "--format", "xml"), "format 'xml'"),
        (("calibrate", "--operators", "none"), "operators 'none': cannot be read"),
        (("calibrate", "--operators", RECORDS), "expected a line of calibrate --measure"),
        ((*PLAN, "-d", "h200", "--calibration", "none.json"), "'none.json': cannot be read"),
        ((*PLAN, "-d", "h200", "--calibration", RECORDS), "expected what rmtscale calibrate"),
    ],
)
def test_bad_input(rmtscale: Command, arguments: tuple[str, ...], said: str) -> None:
    done = rmtscale(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_measuring_needs_a_gpu(rmtscale: Command) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = rmtscale("calibrate", "--measure")
    assert (done.code, "expected a GPU that is known" in done.err) == (2, True)


def test_the_workspace_of_a_known_device(rmtscale: Command) -> None:
    def peak(*more: str) -> int:
        ask = ("memory", "--model", "gpt2", "--mode", "train", "--tokens", "1k", "--format", "json")
        return int(json.loads(rmtscale(*ask, *more).out)["rows"][0]["peak_bytes"])

    assert peak("--device", "h200") - peak() == 2 * 32 * 2**20
    assert peak("--device", "a100-80gb") == peak()
