"""The shell around the commands: completion, pipes that close, help in panels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from rmtscale.cli.help_pages import PANELS
from rmtscale.cli.main import COMMANDS
from rmtscale.specs import catalog, current
from rmtscale.specs.devices import ALIASES, DEVICES
from tests.command_line import parser_of

Command = Callable[..., Any]
RUN = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'rmtscale'; from rmtscale.cli.main import main; main()",
]


def completed(line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    environment = os.environ | words | {"_RMTSCALE_COMPLETE": "complete_bash"}
    done = subprocess.run(RUN, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_models_and_devices_are_completed() -> None:
    assert completed("rmtscale estimate -m gpt2") == [
        name for name in (*catalog.PRESETS, *current.PRESETS) if name.startswith("gpt2")
    ]
    assert completed("rmtscale plan -m gpt2 -d h1") == [
        *(name for name in DEVICES if name.startswith("h1")),
        *(name for name in ALIASES if name.startswith("h1")),
    ]
    assert completed("rmtscale memory --device aut") == ["auto"]
    assert set(completed("rmtscale est")) == {"estimate"}


@pytest.mark.parametrize("line", ["models", "models -f json", "plan -m gpt2 -d a100", "cite"])
def test_a_reader_that_leaves_is_no_failure(line: str) -> None:
    """As ``rmtscale ... | head -1`` does, also where more is written than a pipe holds."""
    process = subprocess.Popen(
        [*RUN, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.parametrize("name", ["profile", "train", "plan"])
def test_the_help_of_many_options_is_in_panels(rmtscale: Command, name: str) -> None:
    shown = rmtscale(name, "--help").out
    places = [shown.index(f"─ {panel} ─") for panel in PANELS if f"─ {panel} ─" in shown]
    assert len(places) >= 4
    assert places == sorted(places)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_has_its_help(rmtscale: Command, name: str) -> None:
    shown = " ".join(rmtscale(name, "--help").out.replace("│", " ").split())
    arguments = [each for each in parser_of(name).params if each.param_type_name == "argument"]
    for argument in arguments:
        _, _, behind = shown.partition(f" {argument.name} ")
        words = behind.partition("Options")[0].replace("[required]", "").split()
        assert len(words) > 4, (name, argument.name, words)


def test_every_option_of_a_panel_exists() -> None:
    known = {param.name for name in COMMANDS for param in parser_of(name).params}
    listed = {name for names in PANELS.values() for name in names.split()}
    unknown = listed - known
    assert unknown <= {"precision", "accumulate", "adapter", "adapter_rank", "adapter_targets",
                       "offload_optimizer", "host_memory"}  # fmt: skip
