"""No option of ``profile`` is silent: it changes what is measured, or is refused by name.

What is measured: the sweep that is handed over, with its machine and its workers. A dry run shows
what the same line would measure, so it takes every option that the line does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rmtscale.cli import profile, profile_workers
from rmtscale.cli.main import main
from rmtscale.profiler.concerns import RULES
from rmtscale.profiler.definition import DEFAULTS
from rmtscale.records.store import RecordStore
from tests.command_line import parser_of
from tests.hostile.rule import built_once

CUDA = "-m gpt2 --tokens 1k --device cuda --out new"
CPU = "-m gpt2 --tokens 1k --device cpu --out new"
LAYOUT = (
    "--mode train --precision master-bf16 --no-dropout --optimizer adamw-fused --batch-size 4 "
    "-m llama-3.2-1b --tokens 1k --device cuda --out new"
)
LINES = [
    CUDA,
    CPU,
    f"{CUDA} --methods full",
    f"{CUDA} --methods rmt",
    f"{CPU} --methods rmt",
    f"{CUDA} --methods rmt --mode train",
    f"{CUDA} --methods rmt --mode train --capture",
    f"{CUDA} --methods full --mode train",
    f"{CPU} --methods rmt,full --mode train",
    f"{CUDA} --mode train,forward",
    f"{CUDA} --mode train --adapter lora --offload-optimizer --host-memory 64GiB",
    f"{CUDA} --mode train --adapter parallel",
    "-m bert-base-cased --tokens 400 --segment-size 256 --device cuda --out new",
    "-m gpt-neo-125m --attention eager --tokens 1k --device cuda --methods rmt --out new",
    "-m gpt-neo-125m --attention eager --tokens 1k --device cuda --mode train --out new",
    "--preset figure-10 --attention sdpa --order random --device cuda --out new",
    f"{CUDA} --shared",
    f"{CUDA} --on local:2",
    f"{CUDA} --on slurm:2",
    f"{LAYOUT} --shard fsdp2",
    f"{LAYOUT} --tp 4",
    f"{LAYOUT} --tp 2 --shard fsdp2 --methods rmt",
    f"{LAYOUT} --cp 4 --shard fsdp2 --methods full",
]
VALUES = {
    **{"--preset": "figure-10", "--model": "gpt2-medium", "--methods": "rmt", "--tokens": "2k"},
    **{"--segment-size": "333", "--memory-tokens": "7", "--precision": "fp16"},
    **{"--attention": "eager", "--batch-size": "8", "--optimizer": "lion", "--accumulate": "2"},
    **{"--adapter": "lora", "--adapter-rank": "5", "--adapter-targets": "all"},
    **{"--offload-optimizer": "", "--host-memory": "128GiB", "--no-dropout": ""},
    **{"--bptt-segments": "2", "--checkpoint-segments": "", "--checkpoint-layers": ""},
    **{"--logits": "all", "--no-cuda-graph": "", "--capture": "", "--compile": ""},
    **{"--shard": "ddp", "--tp": "2", "--cp": "2", "--context": "torchring"},
    **{"--state-by-state": "", "--device": "cpu", "--memory-limit": "33GiB"},
    **{"--warmup-steps": "3", "--repeats": "7", "--timeout": "77", "--order": "short-first"},
    **{"--seed": "5", "--predict-for": "a100", "--retry": "", "--force": "", "--part": "1/2"},
    **{"--shared": "", "--on": "local:3", "--slurm": "time=60"},
}
"""Each as right as it can be, and no default."""
NOT_TRIED = ("--help", "--out", "--dry-run", "--format", "--checkpoint", "--mode")
"""Where the records go and how they are told; weights, of which there are none; another mode, which
is in the lines."""


class Done(Exception):
    """Stands where the measuring begins, with what it is."""


@pytest.fixture(autouse=True)
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def run(todo: Any, store: Any, observer: object, *_: object, **how: Any) -> NoReturn:
        del observer
        raise Done(todo, how)

    def run_on(where: Any, todo: Any, store: Any, _: object, slurm: Any, **how: Any) -> NoReturn:
        raise Done(where, todo, slurm, how)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profile, "run_sweep", run)
    monkeypatch.setattr(profile, "run_shared", lambda *given, **how: run(*given, shared=1, **how))
    monkeypatch.setattr(profile_workers, "run_on", run_on)
    for name in ("require_libraries", "require_device", "require_own_records"):
        monkeypatch.setattr(profile, name, lambda *_: None)

    def opened(path: Path, *, anew: bool) -> Any:
        if anew:
            raise Done("anew")
        return RecordStore(path)

    monkeypatch.setattr(profile, "RecordStore", opened)
    with built_once():
        yield


def answer(line: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[bool, str]:
    """Whether it would be measured, and what would, or the refusal."""
    with pytest.raises((Done, SystemExit)) as ended:
        main(["profile", *line])
    told = capsys.readouterr().err
    if isinstance(ended.value, Done):
        return True, repr(ended.value.args)
    assert isinstance(ended.value, SystemExit)
    assert ended.value.code == 2, told
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    return False, told


def options() -> list[str]:
    names = []
    for parameter in parser_of("profile").params:
        last = parameter.secondary_opts or parameter.opts
        if last[0].startswith("-"):
            names.append(max(last, key=len))
    return ["--capture" if name == "--no-capture" else name for name in names]


def test_every_option_has_a_value_here() -> None:
    assert set(options()) - set(NOT_TRIED) == set(VALUES)


def without(words: list[str], option: str) -> list[str]:
    for name in (option, {"--model": "-m"}.get(option, option)):
        if name in words:
            place = words.index(name)
            words = words[:place] + words[place + (2 if VALUES[option] else 1) :]
    return words


@pytest.mark.parametrize("line", LINES)
def test_it_changes_what_is_measured_or_is_refused(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4" if LAYOUT in line else "1")
    words = line.split()
    measured, plain = answer(words, capsys)
    assert measured, plain
    assert answer(words, capsys) == (True, plain)
    for option, value in VALUES.items():
        if option in words and (not value or value in words):
            continue
        given = [option, value] if value else [option]
        measured, told = answer([*without(words, option), *given], capsys)
        if measured:
            assert told != plain, option
        else:
            named = [option, *(word for word in words if word.startswith("--"))]
            own = [each.strip("-").removeprefix("no-").replace("-", " ") for each in named]
            assert any(each in told.replace("-", " ") for each in own), (option, told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"{CUDA} --mode train --logits all", "--logits 'all': expected with method full and mode"),
        (f"{CUDA} --optimizer sgd", "--optimizer 'sgd': expected with mode train"),
        (f"{CUDA} --no-dropout", "--no-dropout: expected with mode train"),
        (f"{CUDA} --methods full --segment-size 500", "--segment-size '500': expected with method"),
        (f"{CUDA} --mode train --adapter-rank 4", "--adapter-rank 4: expected with an adapter and"),
        (
            f"{CUDA} --mode train --host-memory 1GiB",
            "--host-memory '1GiB': expected with an offloaded optimizer and mode train",
        ),
        (f"{CPU} --mode train --capture", "--capture: expected with method rmt and mode train"),
        (f"{CPU} --no-cuda-graph", "--no-cuda-graph: expected with method rmt and mode forward"),
        (
            f"{CUDA} --methods rmt --mode train --compile",
            "--compile: expected with method rmt",
        ),
        (f"{CUDA} --context torchring", "--context 'torchring': expected with cp above 1"),
        (f"{CUDA} --force --retry", "--retry: expected without --force, which begins anew"),
    ],
)
def test_what_would_be_left_out_is_named(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for dry in ([], ["--dry-run"]):
        measured, said = answer([*line.split(), *dry], capsys)
        assert not measured
        assert said.startswith(f"error: {told}")


def test_of_a_grid_it_is_enough_that_one_point_reads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line in (
        f"{CUDA} --mode train,forward --optimizer sgd",
        f"{CUDA} --segment-size 500",
        "-m gpt2,bert-base-cased --tokens 400 --device cuda --out new --logits all",
    ):
        assert answer(line.split(), capsys)[0]


def test_a_value_of_a_file_may_concern_no_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file is run with other methods and modes on top."""
    (tmp_path / "sweep.toml").write_text(
        '[[grid]]\nmodel = "gpt2"\ntokens = 1000\ndevice = "cuda"\noptimizer = "sgd"\n'
    )
    assert answer("sweep.toml --out new".split(), capsys)[0]
    measured, told = answer("sweep.toml --out new --optimizer sgd".split(), capsys)
    assert not measured
    assert told.startswith("error: --optimizer 'sgd': expected with mode train")


def test_rules_are_of_keys() -> None:
    assert RULES.keys() <= DEFAULTS.keys()
