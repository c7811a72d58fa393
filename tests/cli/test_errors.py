"""Bad input: one line that names the value and what would be accepted, exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import Command

CASES = [
    ("flops", "Missing option '--model'"),
    ("flops -m opt-176b", "model 'opt-176b': did you mean opt-1"),
    ("flops -m gpt2 --tokens 0", "tokens '0': expected 1 or more"),
    ("flops -m gpt2 --tokens -5", "tokens '-5': expected a whole number"),
    ("flops -m gpt2 --tokens 12x", "tokens '12x': expected a whole number such as 512, 32k"),
    ("flops -m gpt2 --segment-size 20", "segment size 20: expected more than 20"),
    ("flops -m gpt2 --segment-size 1k,2k", "segment size '1k,2k': expected a whole number"),
    ("flops -m gpt2 --segment-size 1025", "expected 1024 or less, the position table of gpt2"),
    ("flops -m gpt2 --memory-tokens -1", "memory tokens -1: expected 0 or more"),
    ("flops -m gpt2 --memory-tokens two", "'two' is not a valid int"),
    ("flops -m gpt2 --convention chinchilla", "convention 'chinchilla': expected one of hoffmann"),
    ("flops -m gpt2 --convention ,", "convention ',': expected one of"),
    ("flops -m gpt2 --mode backward", "mode 'backward': expected one of forward, train"),
    ("flops -m gpt2 --batch-size 0", "batch size 0: expected a whole number of 1 or more"),
    ("flops -m gpt2 --format yaml", "format 'yaml': expected one of table, json, csv"),
    ("flops -m gpt2 --no-such-option", "No such option"),
    ("flop", "command 'flop': did you mean flops? expected one of estimate, flops"),
    ("flops -m gpt2 --method mambo", "method 'mambo': did you mean mamba? expected one of full"),
    ("flops -m bert-base-cased --method mamba", "is an encoder, expected a decoder such as gpt2"),
    ("memory -m gpt2 --method longt5", "gpt2 is a decoder, expected an encoder such as bert"),
    ("flops -m gpt2 --method s4 --convention all", "convention 'hoffmann': expected matmul"),
    ("plan -m gpt2 -d h200 --method s4 --bptt-segments 2", "expected only with method rmt, not s4"),
    ("compare -m gpt2 --methods ,", "methods ',': expected a list such as full,rmt,mamba, or all"),
    ("compare -m gpt2 --methods full,etc", "method 'etc': gpt2 is a decoder, expected an encoder"),
    ("compare -m gpt2 --tokens 2M..512", "tokens '2M..512': expected the smaller length first"),
    ("compare -m gpt2 --tokens 512..", "tokens '': expected a whole number such as 512"),
    ("generate-cost -m bert-base-cased -d h200", "expected a decoder, an encoder writes no text"),
    ("generate-cost -m gpt2 -d h200 --kv-dtype int4", "kv dtype 'int4': expected one of fp32"),
    ("generate-cost -m gpt2 -d h200 --context 0", "context '0': expected 1 or more"),
    ("memory -m gpt2 --precision int8", "precision 'int8': expected fp32, tf32, bf16, fp16"),
    ("memory -m gpt2 --attention flash9", "attention 'flash9': expected one of eager, sdpa"),
    ("memory -m gpt2 --mode train --optimizer lamb", "optimizer 'lamb': expected one of adamw"),
    (
        "memory -m gpt2 --mode train --precision master-bf16 --optimizer adafactor",
        "optimizer 'adafactor': expected adamw, adamw-fused, lion or sgd with 'master-bf16'",
    ),
    (
        "memory -m gpt2 --mode train --offload-optimizer",
        "offload optimizer True: expected the memory of the host",
    ),
    (
        "memory -m gpt2 --mode train --offload-optimizer --host-memory 1GiB",
        "host memory 1.000 GiB: expected 1.854 GiB or more for the offloaded optimizer",
    ),
    ("memory -m gpt2 --adapter lora", "--adapter 'lora': expected with --mode train"),
    ("memory -m gpt2 --mode train --adapter prefix", "adapter 'prefix': expected one of lora"),
    (
        "memory -m gpt2 --mode train --adapter lora --adapter-targets q_proj",
        "adapter targets 'q_proj': expected attention, all, or names among c_attn",
    ),
    (
        "memory -m gpt2 --mode train --adapter parallel --adapter-targets all",
        "adapter targets 'all': expected only with lora or qlora",
    ),
    (
        "memory -m gpt2 --mode train --adapter lora --method mamba",
        "method 'mamba': expected one dtype throughout and no adapter",
    ),
    ("memory -m gpt2 --mode train --bptt-segments 0", "bptt segments 0: expected a whole number"),
    (
        "memory -m gpt2 --mode train --checkpoint-segments --checkpoint-layers",
        "checkpoint layers True: expected one of",
    ),
    ("plan -m gpt2 -d a10080", "device 'a10080'"),
    ("plan -m gpt2 -d v100-16gb --dtype bf16", "dtype 'bf16': v100-16gb"),
    ("plan -m gpt2 -d h200 --mode sometimes", "mode 'sometimes': expected one of"),
    ("verify -m gpt2 --tokens 2k --segment-size 128", "tokens 2000: expected 1024 or less"),
    ("reproduce figure-99", "figure 'figure-99': expected one of figure-2"),
    ("cite --format html", "format 'html': expected one of table, json, csv, bibtex"),
]


@pytest.mark.parametrize(("line", "message"), CASES)
def test_one_line_and_exit_code_2(
    rmtscale: Command,
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rmtscale(*line.split())
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["not json", json.dumps({"model_type": "t5"}), "{}"])
def test_a_config_that_cannot_be_used(rmtscale: Command, content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    done = rmtscale("flops", "--model", str(path))
    assert done.code == 2
    assert str(path) in done.err
    assert done.err.count("\n") == 1


def test_an_unknown_device_lists_the_known(rmtscale: Command) -> None:
    done = rmtscale("plan", "-m", "gpt2", "--device", "h300")
    assert all(name in done.err for name in ("h200", "a100-80gb", "rtx-4090", "l4"))


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rmtscale", "models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == ""


@pytest.mark.parametrize(
    "command",
    [
        "",
        "flops",
        "memory",
        "plan",
        "verify",
        "profile",
        "train",
        "evaluate",
        "reproduce",
        "models",
        "devices",
        "cite",
    ],
)
def test_help(rmtscale: Command, command: str) -> None:
    done = rmtscale(*command.split(), "--help")
    assert done.code == 0
    assert "Usage" in done.out
    if command:
        assert f"Example: rmtscale {command}" in " ".join(done.out.split())


def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rmtscale", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("rmtscale ")
