"""``rmtscale calibrate`` and ``plan --calibration``: what they write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import Command

ROOT = Path(__file__).parents[2]
RECORDS = str(ROOT / "profiles" / "nvidia-h200" / "gpt2-train.jsonl")
PLAN = ("plan", "--model", "gpt2", "--device", "h200", "--segment-size", "1000")


@pytest.fixture
def calibration(rmtscale: Command, tmp_path: Path) -> Path:
    path = tmp_path / "machine.json"
    done = rmtscale("calibrate", RECORDS, "--out", str(path))
    assert (done.code, done.err) == (0, "")
    assert "Median error of the predicted time" in done.out
    assert max(map(len, done.out.splitlines())) <= 80 or str(path) in done.out
    return path


def test_json_is_what_the_file_holds(rmtscale: Command, calibration: Path) -> None:
    done = rmtscale("calibrate", RECORDS, "--format", "json")
    (row,) = json.loads(done.out)["rows"]
    assert row == json.loads(calibration.read_text(encoding="utf-8"))
    assert row["gpu"] == "NVIDIA H200"
    assert 0 < row["calibration"]["matmul_efficiency"]["fp32"] <= 1


def test_a_plan_with_it(rmtscale: Command, calibration: Path) -> None:
    plain = json.loads(rmtscale(*PLAN, "--format", "json").out)["rows"]
    done = rmtscale(*PLAN, "--calibration", str(calibration), "--format", "json")
    rows = json.loads(done.out)["rows"]
    assert {row["time"] for row in plain} == {"roofline"}
    assert {row["time"] for row in rows} == {"calibrated"}
    for before, after in zip(plain, rows, strict=True):
        assert before["less_memory_tokens"] == after["less_memory_tokens"]
    training = [row for row in rows if (row["mode"], row["segment_size"]) == ("train", 128)]
    bound = [row for row in plain if (row["mode"], row["segment_size"]) == ("train", 128)]
    assert training[0]["less_time_tokens"] > 10 * bound[0]["less_time_tokens"]
    assert "calibrated by measured records" in rmtscale(*PLAN, "--calibration", calibration).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate", "none.jsonl"), "records 'none.jsonl': no such file"),
        (("calibrate", RECORDS, "--out", RECORDS), "exists already, expected --force"),
        (("calibrate", RECORDS, "--format", "xml"), "format 'xml'"),
        ((*PLAN, "--calibration", "none.json"), "calibration 'none.json': cannot be read"),
        ((*PLAN, "--calibration", RECORDS), "expected what rmtscale calibrate wrote"),
        (("memory", "--model", "gpt2", "--device", "h900"), "device 'h900'"),
    ],
)
def test_bad_input(rmtscale: Command, arguments: tuple[str, ...], said: str) -> None:
    done = rmtscale(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_of_another_device_dtype_or_version(rmtscale: Command, calibration: Path) -> None:
    other = ("plan", "--model", "gpt2", "--device", "a100-80gb", "--calibration", str(calibration))
    assert "is of h200, expected a100-80gb" in rmtscale(*other).err
    dtype = (*PLAN, "--calibration", str(calibration), "--dtype", "fp16")
    assert "precision 'fp16'" in rmtscale(*dtype).err
    newer = json.loads(calibration.read_text(encoding="utf-8")) | {"schema_version": 3}
    calibration.write_text(json.dumps(newer), encoding="utf-8")
    done = rmtscale(*PLAN, "--calibration", str(calibration))
    assert (done.code, "schema_version 3: expected 2" in done.err) == (2, True)


def test_too_few_and_too_many_machines(rmtscale: Command, tmp_path: Path) -> None:
    lines = Path(RECORDS).read_text(encoding="utf-8").splitlines()
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(lines[:4]) + "\n", encoding="utf-8")
    assert "expected 8 or more" in rmtscale("calibrate", str(few)).err
    moved = json.loads(lines[0])
    moved["measured"]["environment"]["gpu"] = "NVIDIA H300"
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join([json.dumps(moved), *lines[1:]]) + "\n", encoding="utf-8")
    done = rmtscale("calibrate", str(mixed))
    assert (done.code, "expected one GPU" in done.err) == (2, True)


def test_the_workspace_of_a_known_device(rmtscale: Command) -> None:
    def peak(*more: str) -> int:
        ask = ("memory", "--model", "gpt2", "--mode", "train", "--tokens", "1k", "--format", "json")
        return int(json.loads(rmtscale(*ask, *more).out)["rows"][0]["peak_bytes"])

    assert peak("--device", "h200") - peak() == 2 * 32 * 2**20
    assert peak("--device", "a100-80gb") == peak()


def test_a_file_of_version_1_is_still_read(rmtscale: Command, calibration: Path) -> None:
    plan = (*PLAN, "--calibration", str(calibration))
    today = rmtscale(*plan).out
    content = json.loads(calibration.read_text(encoding="utf-8"))
    fitted = content["calibration"]
    fitted |= {
        "launch_seconds": fitted.pop("operator_seconds"),
        "captured_launch_seconds": fitted.pop("captured_operator_seconds"),
        "products_efficiency": fitted.pop("matmul_efficiency"),
    }
    calibration.write_text(json.dumps(content | {"schema_version": 1}), encoding="utf-8")
    assert "calibrated by measured records" in today
    assert rmtscale(*plan).out == today
