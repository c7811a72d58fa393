"""``rmtscale estimate``: the verdict in the first line, 80 columns, and every kind of model."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.yardstick import counting_slowness

Command = Callable[..., Any]
TINY = Path(__file__).parents[1] / "specs" / "tiny"
QUESTIONS = [
    "-m llama-3-8b -d rtx-4090 --tokens 128k --mode train",
    "-m llama-3-8b -d l4 --tokens 128k --mode generate",
    "-m llama-3-8b -d a100 --tokens 128k",
    "-m qwen3-8b -d h100 --tokens 128k",
    "-m gpt2 -d t4 --tokens 16k --mode train",
    "-m bert-base-cased -d l4 --tokens 4k",
    "-m mamba2-130m -d l4 --tokens 128k",
    f"-m {TINY / 'mixtral.json'} -d a100 --tokens 2k --mode train",
    f"-m {TINY / 't5.json'} -d t4 --tokens 1k --mode train",
]


@pytest.mark.parametrize("line", QUESTIONS)
def test_the_verdict_comes_first_and_fits_80_columns(rmtscale: Command, line: str) -> None:
    done = rmtscale("estimate", *line.split())
    assert done.code == 0, done.err
    assert done.out.startswith(("Fits: needs ", "Does not fit: needs "))
    assert max(map(len, done.out.splitlines())) <= 80
    assert ("full attention" in done.out) != ("all at once" in done.out)
    words = " ".join(done.out.split())
    assert ("No RMT rows: " in words) != (
        "RMT rows: an existing checkpoint has to be trained" in words
    )
    rows = json.loads(rmtscale("estimate", *line.split(), "-f", "json").out)["rows"]
    assert all(row["fits"] == (row["peak_bytes"] <= row["usable_memory_bytes"]) for row in rows)
    for row in rows:
        assert sum(row["terms"].values()) == row["peak_bytes"]
        assert 0 < row["seconds_at_least"] < row["seconds_at_most"]
    text = rmtscale("estimate", *line.split(), "-f", "csv").out
    read = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["flops"]) for row in read] == [row["flops"] for row in rows]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-m gpt2 -d t4 --tokens 1k --mode later", "mode 'later': expected one of train, prefill"),
        ("-m bert-base-cased -d t4 --tokens 1k --mode generate", "writes no text by itself"),
        ("-m gpt2 -d t4 --tokens none", "tokens 'none'"),
        ("-m gpt2 -d t4 --tokens 1k --dtype bf16", "expected fp32 or fp16"),
        ("-m gpt2 -d t4 --tokens 1k --segment-size 10", "segment size 10"),
        ("-m gpt2 -d t4 --tokens 1k --reserve 20GiB", "reserve 20.00 GiB"),
    ],
)
def test_bad_input_is_one_line(rmtscale: Command, line: str, said: str) -> None:
    done = rmtscale("estimate", *line.split())
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv[1:] = 'estimate -m gpt2 -d h100 --tokens 8k --mode train'.split()\n"
        "from rmtscale.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_takes_a_fraction_of_a_second_of_a_core() -> None:
    """Processor time, which other work on the machine lengthens less than it does the clock's."""
    import resource

    line = [sys.executable, "-m", "rmtscale", "estimate", *QUESTIONS[3].split()]
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(line, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4 * counting_slowness()
