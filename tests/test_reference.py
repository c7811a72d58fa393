"""The reference pages have every command, option and public name, with what is said of each."""

from __future__ import annotations

import pytest

import rmtscale
from rmtscale.cli.main import COMMANDS
from tests import reference
from tests.command_line import parser_of
from tests.generated_docs import ROOT

PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_there_with_its_help(name: str) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    section = page.split(f"## `rmtscale {name}`\n")[1].split("\n## ")[0]
    parser = parser_of(name)
    parser.describe_arguments()
    for param in parser.params:
        (row,) = (line for line in section.splitlines() if f"`{spelling(param)}`" in line[:60])
        assert " ".join(param.help.split()).replace("|", "\\|") in row
    assert f"Example: `rmtscale {name}" in section


def spelling(param: object) -> str:
    name: str = getattr(param, "human_readable_name", "")
    argument = getattr(param, "param_type_name", "") == "argument"
    return name if argument else getattr(param, "opts", [""])[0]


def test_every_public_name_is_there() -> None:
    from rmtscale import rmt

    for name in (*rmtscale.__all__, *rmt.__all__):
        assert f"\n### `{name}`\n" in PYTHON, name


def test_docstrings_become_lists_and_fields_have_theirs() -> None:
    assert "* `bandwidth_bytes_per_second: int`: Peak of the device's own memory." in PYTHON
    assert "\nArgs:\n\n* `segment_size`: T, everything the backbone sees" in PYTHON
    assert "\n### `gpt2`" not in PYTHON
    assert "calibration: TimeConstants | None = None,\n" in PYTHON


def test_what_is_taken_from_others_is_left_out() -> None:
    """Docstrings that a class inherits from Transformers or a dataclass writes itself."""
    section = PYTHON.split("### `RMTForCausalLM`")[1].split("\n### ")[0]
    assert "`infer(" in section
    assert "`from_pretrained(" not in section
    assert "Term(phase" not in PYTHON


def test_a_signature_that_is_short_stays_in_one_line() -> None:
    made = reference.python_reference("rmtscale")
    assert "\ncount_parameters(model: AnyModel) -> Breakdown\n" in made
    assert "\n    *,\n    mode: str = 'prefill',\n" in made
