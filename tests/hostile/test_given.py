"""An option that is refused is named as it was typed, with its value, by every command.

Each option of each command is given a value that would do elsewhere, beside lines that leave some
of them no use. What a line without the option says as well was not about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock

import pytest
import typer

from rmtscale.cli.given import as_given, running
from rmtscale.cli.main import COMMANDS, main
from rmtscale.cli.train import run_training
from rmtscale.study.figures.registry import FIGURES
from tests.command_line import parser_of
from tests.hostile.lines import LINES, accepted, make_right, stopped

CPU = "--model=pythia-14m --tokens=512 --mode=train --device=cpu --precision=fp32"
OTHERS: dict[str, tuple[str, ...]] = {
    "estimate": ("--model=gpt2 --device=h200 --tokens=4k --mode=train --gpus=8",),
    "flops": ("--model=gpt2 --tokens=4k --method=mamba --mode=forward",),
    "memory": ("--model=gpt2 --tokens=4k --method=mamba", "--model=gpt2 --tokens=4k"),
    "plan": ("--model=gpt2 --device=h200 --mode=train --gpus=8",),
    "profile": (f"{CPU} --out=new --shared", f"{CPU} --out=new --on=local:2"),
    "train": ("--out=new --task=language-modeling --device=cpu --segments=1",),
    "evaluate": ("{language}", "{babilong} --lengths=0k", "--model={language} --lengths=0k"),
    "dead-band": ("{checkpoint} --by=accuracy --samples=4 --background={background}",),
    "attention": ("{language}",),
    "reproduce": (
        "all",
        *FIGURES,
        *(f"{name} --quick" for name in ("figure-5", "figure-7", "pretrained-decoder")),
        "figure-4 --records={records}",
        "figure-6 --checkpoint={checkpoint}",
    ),
    "models": ("--types",),
}
"""Lines beside the right ones: another kind of checkpoint, of method, of figure, of work."""
VALUES = {
    "integer": "37",
    "float": "43.5",
    "--adapter": "lora",
    "--adapter-targets": "q_proj",
    "--answers": "generate",
    "--block-tokens": "64",
    "--context": "512",
    "--gpus": "8",
    "--history": "519",
    "--interconnect": "ib-ndr",
    "--jobs": "2",
    "--kv-dtype": "fp8",
    "--lengths": "1k",
    "--method": "mamba",
    "--methods": "rmt",
    "--mode": "train",
    "--new-tokens": "64",
    "--on": "local:2",
    "--option": "placement=depth:1",
    "--part": "1/1",
    "--reserve": "2GiB",
    "--seeds": "5,6",
    "--segments": "7",
    "--set": "lora_alpha=3",
    "--slurm": "partition=gpu",
    "--stories": "qa1",
    "--text": "latex=x",
    "--widths": "0.35",
}
"""Values that are right, where another text would be refused for itself."""


class Refusal(NamedTuple):
    option: str
    value: str
    """Empty of a flag."""
    positive: str
    """Of a pair the name of its yes, where its no was given; else empty."""
    line: str

    @property
    def names_it(self) -> bool:
        """Tells whether the line has the option's name and value, or those of the fact."""
        words = self.option.removeprefix("--").replace("-", " ")
        if self.value:
            return re.search(rf"(?<![\w.]){re.escape(self.value)}(?![\w.])", self.line) is not None
        fact = f"{self.positive.removeprefix('--').replace('-', ' ')} False"
        own = (self.option, fact) if self.positive else (self.option, words)
        return any(each.lower() in self.line.lower() for each in own)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("right")
    found = make_right(folder)
    for name, task in {"language": "language-modeling", "babilong": "babilong"}.items():
        (folder / name).mkdir()
        meaning = f'{{"format_version": 1, "task": "{task}"}}'
        (folder / name / "task.json").write_text(meaning, encoding="utf-8")
        found[name] = str(folder / name)
    return found


@pytest.fixture(autouse=True)
def no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with stopped(), mock.patch("rmtscale.cli.train.run_training", accepted):
        yield


def last_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a line is refused with; nothing where it is not."""
    with pytest.raises(SystemExit) as leaving:
        main(words)
    told = capsys.readouterr().err.splitlines()
    return told[-1] if leaving.value.code == 2 else ""


def refusals(
    command: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> Iterator[Refusal]:
    """Gives each option to each line that it does not stand on."""
    for line in (LINES[command], *OTHERS.get(command, ())):
        words = line.format(**places).split()
        plain = last_line([command, *words], capsys)
        for param in parser_of(command).params:
            option = max(param.opts, key=len)
            if param.param_type_name == "argument" or re.search(rf"{option}\b(?!-)", line):
                continue
            for name in (*param.opts[-1:], *param.secondary_opts):
                value = ""
                if not param.is_flag:
                    value = VALUES.get(option) or VALUES.get(param.type.name, "given")
                given = f"{name}={value}" if value else name
                told = last_line([command, *words, given], capsys)
                if told and told != plain:
                    yield Refusal(name, value, option if name != option else "", told)


SEEN = {
    "dead-band": "--no-compile: expected with --by accuracy only",
    "evaluate": "--no-repeats with --lengths: expected with --segments only",
    "reproduce": "--seeds '5,6': figure-2 trains nothing",
    "profile": "--part '1/1' with --shared: expected one of them",
    "train": "--fixed of task 'memorize': expected one of task",
    "attention": "--option 'placement=depth:1': expected with a memory task only",
    "plan": "accumulate 37 with a layout: expected its micro-batches",
    "flops": "--adapter 'lora': expected with --mode train",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_option_is_named_with_its_value(
    command: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(refusals(command, places, capsys))
    unnamed = [f"{each.option} {each.value}: {each.line}" for each in found if not each.names_it]
    assert not unnamed, "\n".join(unnamed)
    if command in SEEN:
        assert any(SEEN[command] in each.line for each in found), [each.line for each in found]


@pytest.mark.parametrize(
    ("command", "line", "expected"),
    [
        ("attention", "{right} --force", "--force: expected with --out only"),
        ("dead-band", "{right} --force", "--force: expected with --out or --by accuracy only"),
        ("train", "{right} --gpu-utilization", "--gpu-utilization on a CPU: expected --device"),
        ("evaluate", "{model} --task=babilong", "--task 'babilong' with --model: expected with a"),
        ("evaluate", "{model} --dead-band=0.3", "--dead-band 0.3 with --model: expected with a"),
    ],
)
def test_an_option_without_use_is_refused(
    command: str,
    line: str,
    expected: str,
    places: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = LINES[command].format(**places)
    model = f"--model={places['language']} --lengths=0k"
    with mock.patch("rmtscale.cli.train.run_training", run_training):
        told = last_line([command, *line.format(right=right, model=model).split()], capsys)
    assert told.startswith(f"error: {expected}")


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        (Refusal("--widths", "0.35", "", "error: --widths '0.35': expected with more"), True),
        (Refusal("--widths", "0.35", "", "error: --widths: expected with more"), False),
        (Refusal("--jobs", "37", "", "error: --jobs: 37.5 and 370 take none"), False),
        (Refusal("--no-compile", "", "--compile", "error: --compile: expected more"), False),
        (Refusal("--no-compile", "", "--compile", "error: compile False: expected more"), True),
        (Refusal("--fixed", "", "--mixing", "error: setting 'mixing': expected others"), False),
        (Refusal("--state-by-state", "", "", "error: state by state: expected more"), True),
    ],
)
def test_the_rule_can_fail(refusal: Refusal, named: bool) -> None:
    assert refusal.names_it == named


def test_as_typed() -> None:
    app = typer.Typer()
    found: dict[str, str] = {}

    @app.command()
    def command(
        names: Annotated[list[str] | None, typer.Option("--name", "-n")] = None,
        share: float = 0.25,
        batch_size: int | None = None,
        mixed: Annotated[bool | None, typer.Option("--mixed/--fixed")] = None,
        out: Path | None = None,
    ) -> None:
        for each in ("name", "names", "share", "batch-size", "batch_size", "mixed", "out", "none"):
            found[each] = as_given(each)

    parser: Any = typer.main.get_command(app)
    line = ["-n", "a b", "--name", "c", "--share", "1e-3", "--batch-size", "12", "--fixed"]
    with parser.make_context("x", line) as context, running(context):
        parser.invoke(context)
    names = "--name 'a b' --name 'c'"
    assert found == {
        **dict.fromkeys(("name", "names"), names),
        **dict.fromkeys(("batch-size", "batch_size"), "--batch-size 12"),
        **{"share": "--share 0.001", "mixed": "--fixed", "out": "", "none": ""},
    }
    assert as_given("share") == ""
