"""What another library says is wrong is told in one line that says it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from rmtscale.errors import BadInput, reason_of
from rmtscale.profiler.real_module import real_config
from tests.sources import PACKAGE, parsed, walk
from tests.specs.tiny_configs import TINY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\ntwo", "one"),
        ("\n  one:\n\n two\nthree", "one: two"),
        ("one:", "one:"),
        ("", "ValueError"),
        (" \n ", "ValueError"),
        ("x" * 500, "x" * 120),
    ],
)
def test_the_reason_is_the_first_line_that_says_something(text: str, said: str) -> None:
    assert reason_of(ValueError(text)) == said


def test_what_a_config_class_refuses_is_in_the_line() -> None:
    config = json.loads(json.dumps(TINY["mamba2"] | {"time_step_limit": ["a", 1.0]}))
    with pytest.raises(BadInput) as error:
        real_config(config, "mine")
    assert "time_step_limit" in str(error.value)
    assert "['a', 1.0]" in str(error.value)
    assert not str(error.value).rstrip(")").endswith(":")


def cut(modules: Mapping[str, ast.Module]) -> list[str]:
    """Modules that cut an error's text to a line themselves."""
    return [
        name
        for name, tree in modules.items()
        for node in walk(tree)
        if isinstance(node, ast.Subscript)
        and ".splitlines()" in ast.unparse(node.value)
        and any(word in ast.unparse(node.value) for word in ("str(error)", "str(problem)"))
    ]


def test_nothing_else_cuts_an_error(tmp_path: Path) -> None:
    assert cut(parsed(PACKAGE)) == []
    (tmp_path / "other.py").write_text("first = (str(error).strip() or 'x').splitlines()[0]\n")
    assert cut(parsed(tmp_path)) == ["other.py"]
