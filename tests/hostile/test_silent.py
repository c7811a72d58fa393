"""No option of a command that predicts is silent: it changes what is answered, or is refused.

An answer that leaves out a part of the question looks like an answer to it. ``test_unused.py`` asks
the same of ``reproduce``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rmtscale
from rmtscale.cli.main import main
from rmtscale.specs.rows.catalog import ROWS
from tests.command_line import parser_of
from tests.hostile.rule import built_once
from tests.specs.tiny_configs import TINY

H200 = Path(rmtscale.__file__).parent / "costs" / "time" / "gpus" / "h200.json"
LINES = [
    "estimate -m gpt2 -d h200 --tokens 16k --mode train",
    "estimate -m gpt2 -d h200 --tokens 16k --mode train --adapter lora --offload-optimizer "
    "--host-memory 64GiB",
    "estimate -m gpt2 -d h200 --tokens 16k --mode prefill",
    "estimate -m gpt2 -d h200 --tokens 16k --mode generate",
    "estimate -m opt-30b -d h200 --tokens 16k --mode train --gpus 16",
    "estimate -m opt-30b -d h200 --tokens 16k --mode prefill --gpus 8",
    "flops -m gpt2 --tokens 16k",
    "flops -m gpt2 --tokens 16k --mode train --convention matmul",
    "flops -m gpt2 --tokens 16k --method sliding-window",
    "memory -m gpt2 --tokens 16k",
    "memory -m gpt2 --tokens 16k --mode prefill",
    "memory -m gpt2 --tokens 16k --mode train",
    "plan -m gpt2 -d h200 --mode train",
    "plan -m gpt2 -d h200 --mode prefill",
    "plan -m opt-30b -d h200 --mode train --gpus 16",
    "generate-cost -m gpt2 -d h200",
    "compare -m gpt2 --tokens 16k",
]
VALUES = {
    **{"--model": "gpt2-medium", "--device": "a100", "--tokens": "9k", "--context": "9k"},
    **{"--mode": "train", "--method": "mamba", "--methods": "full,s4", "--new-tokens": "77"},
    **{"--batch-size": "3", "--segment-size": "333", "--memory-tokens": "7", "--capture": ""},
    **{"--compile": "", "--bptt-segments": "2", "--checkpoint-segments": ""},
    **{"--checkpoint-layers": "", "--precision": "fp16", "--attention": "eager"},
    **{"--optimizer": "lion", "--accumulate": "3", "--adapter": "parallel", "--adapter-rank": "5"},
    **{"--adapter-targets": "all", "--offload-optimizer": "", "--host-memory": "1MiB"},
    **{"--no-dropout": "", "--logits": "all", "--weights": "int8", "--kv-dtype": "fp8"},
    **{
        "--prefill-chunk": "1000",
        "--reserve": "100GiB",
        "--calibration": "h200.json",
        "--gpus": "32",
    },
    **{"--gpus-per-node": "4", "--interconnect": "ib-edr", "--layout": "tp8-sp-pp2-full"},
    **{"--convention": "kaplan", "--breakdown": "", "--format": "csv", "--force": ""},
}
"""Each as right as it can be, and no default."""
ALIKE = {
    ("flops", "--bptt-segments"): "every segment is differentiated, whatever goes back through it",
}
"""Options that are read, and that make no difference with these values."""


@pytest.fixture(autouse=True)
def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Parsers are built once; another calibration of the same card is there."""
    constants = json.loads(H200.read_text())
    constants["constants"] = {
        name: [0.8 * value for value in values] if name.endswith("per second") else values
        for name, values in constants["constants"].items()
    }
    (tmp_path / "h200.json").write_text(json.dumps(constants))
    monkeypatch.chdir(tmp_path)
    with built_once():
        yield


def answer(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    return ended.value.code, told.out if ended.value.code == 0 else told.err


def options(command: str) -> list[str]:
    names = []
    for parameter in parser_of(command).params:
        first = parameter.secondary_opts or parameter.opts
        names += [max(first, key=len)] if first[0].startswith("-") else []
    return [name for name in names if name not in ("--help", "--out")]


@pytest.mark.parametrize("line", LINES)
def test_it_changes_the_answer_or_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = line.split()
    code, plain = answer(words, capsys)
    assert code == 0, plain
    one_pass = "prefill" if words[0] == "estimate" else "forward"
    other = one_pass if "train" in words else "train"
    for name in options(words[0]):
        option = "--capture" if name == "--no-capture" else name
        if option in words and not VALUES[option]:
            continue
        rest = words
        for given in (option, {"--model": "-m", "--device": "-d"}.get(option, option)):
            if given in rest:
                place = rest.index(given)
                rest = rest[:place] + rest[place + (2 if VALUES[option] else 1) :]
        value = other if option == "--mode" else VALUES[option]
        code, told = answer([*rest, option, *([value] if value else [])], capsys)
        if code == 0:
            assert told != plain or (words[0], option) in ALIKE, option
        else:
            assert code == 2, (option, told)
            assert told.count("\n") == 1, (option, told)
            # Of two that exclude each other either may be named.
            named = [option, *(word for word in words if word.startswith("--"))]
            own = [each.strip("-").removeprefix("no-").replace("-", " ") for each in named]
            assert any(each in told.replace("-", " ") for each in own), (option, told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("plan -m gpt2 -d h200 --tokens 128k", "--tokens '128k': expected with --gpus; a plan is"),
        ("estimate -m gpt2 -d h200 --tokens 1k --gpus 0", "gpus 0: expected a whole number of 1"),
        ("flops -m gpt2 --tokens 1k --gpus=-4", "gpus -4: expected a whole number of 1 or more"),
        (
            "estimate -m opt-30b -d h200 --tokens 1k --gpus 8 --mode generate",
            "mode 'generate': expected train or prefill with --gpus, whose answer says",
        ),
        (
            "estimate -m opt-30b -d h200 --tokens 1k --gpus 8 --mode train --capture",
            "capture True with a layout: expected segments that run eagerly",
        ),
        *(
            (f"verify -m gpt2 --mode forward {option}", f"{option}: expected with --mode train")
            for option in (
                *("--no-dropout", "--bptt-segments 2", "--checkpoint-segments"),
                "--checkpoint-layers",
            )
        ),
        ("models gpt2 --truth x.json", "--truth 'x.json': expected with a folder of configs"),
        ("models gpt2 --types", "model 'gpt2': expected none with --types"),
        ("app --models gpt2", "--models 'gpt2': expected with --export"),
        ("app --devices h100", "--devices 'h100': expected with --export"),
        ("app --force", "--force: expected with --export"),
        ("app --export x.html --port 80", "--port 80: expected without --export"),
        ("compare -m gpt2 --force", "--force: expected with --out only, nothing is written"),
        ("report x.jsonl --format markdown --force", "--force: expected with --out only"),
        ("report x.jsonl --format markdown --spreadsheet", "--spreadsheet: expected with --format"),
        ("report x.jsonl --out x --spreadsheet", "--spreadsheet: expected with --format csv"),
        ("calibrate x.jsonl --force", "--force: expected with --out only, nothing is written"),
    ],
)
def test_what_would_be_left_out_is_named(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = answer(line.split(), capsys)
    assert code == 2
    assert said.startswith(f"error: {told}")


def test_a_real_module_is_counted_in_one_way_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMTSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(ROWS, "qwen3")
    (tmp_path / "config.json").write_text(json.dumps(TINY["qwen3"]))
    line = ["flops", "-m", "config.json", "--tokens", "100"]
    code, told = answer(line, capsys)
    assert code == 0, told
    assert "counted on the real module" in told
    same = ["--mode=forward", "--batch-size=1", "--convention=matmul"]
    assert answer([*line, *same], capsys) == (0, told)
    for more in ("--mode=train", "--batch-size=4", "--method=mamba", "--convention=kaplan"):
        code, told = answer([*line, more], capsys)
        assert code == 2
        assert told.startswith(f"error: {more.partition('=')[0]} ")
        assert "expected none of this: the real module is counted in one forward pass" in told
