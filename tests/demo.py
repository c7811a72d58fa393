"""What ``make demo`` runs: one answer, one measurement, one page. Needs the ``measure`` extra only.

How far it is goes to standard error; then three lines follow. What the commands print is kept
beside the page.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import rmtscale
from rmtscale.records.record import Record
from rmtscale.units import format_bytes, format_seconds, format_tokens

FOLDER = Path("build") / "demo"
MODEL, DEVICE, TOKENS = "llama-3.2-1b", "rtx-4090", "32k"
MEASURED = (
    *("--model", "pythia-14m", "--tokens", "1024", "--segment-size", "256", "--memory-tokens", "2"),
    *("--mode", "train", "--precision", "fp32", "--device", "cpu", "--repeats", "3"),
    *("--warmup-steps", "1", "--force"),
)


def run(command: str, *given: str) -> None:
    """Runs a command; what it prints goes into a file, and how far it is to the terminal."""
    with (FOLDER / f"{command}.txt").open("w", encoding="utf-8") as printed:
        done = subprocess.run([sys.executable, "-m", "rmtscale", command, *given], stdout=printed)
    if done.returncode:
        raise SystemExit(done.returncode)


def answer() -> str:
    """The answer to the question that the README begins with."""
    found = rmtscale.estimate(MODEL, DEVICE, TOKENS, mode="train")
    length = format_tokens(found.question.work.tokens)
    return f"Answer: {MODEL}, training on {length} tokens, {DEVICE}. {found.verdict}"


def measured(records: Iterable[Record]) -> str:
    """What each method took here, beside the memory that was predicted for its tensors."""
    shown, first = [], None
    for record in records:
        if record.point.replicate:
            continue
        first = first or record.point
        name = "full attention" if record.point.method == "full" else "RMT"
        memory, seconds = record.measured.memory, record.measured.step_seconds
        if memory is None or memory.model_bytes is None or seconds is None:
            shown.append(f"{name} {record.measured.outcome}")
            continue
        predicted = record.predicted.peak_bytes
        tensors = (
            "" if predicted is None else f" (predicted, tensors alone: {format_bytes(predicted)})"
        )
        took = f"{format_bytes(memory.model_bytes)}{tensors} and {format_seconds(seconds)} a step"
        shown.append(f"{name} {took}")
    if first is None:
        return "Measured: nothing"
    length = format_tokens(first.tokens)
    return f"Measured here: {first.model.name}, training on {length} tokens: {'; '.join(shown)}."


def lines(records: Iterable[Record], page: Path) -> list[str]:
    """The end of the demo."""
    return [answer(), measured(records), f"Page: {page}"]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    records, report = FOLDER / "profile.jsonl", FOLDER / "report"
    run("profile", *MEASURED, "--out", str(records))
    run("report", str(records), "--out", str(report), "--force")
    found = rmtscale.RecordStore(records).read().latest().values()
    print("\n".join(lines(found, report / "index.html")))  # noqa: T201


if __name__ == "__main__":
    main()
