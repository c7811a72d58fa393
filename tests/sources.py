"""The sources of the package and of its tests, parsed once for all tests that look at them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import rmtscale

PACKAGE, TESTS = Path(rmtscale.__file__).parent, Path(__file__).parent


@cache
def parsed(folder: Path = PACKAGE) -> dict[str, ast.Module]:
    """Every module below a folder by its path there (``costs/plan.py``)."""
    return {
        path.relative_to(folder).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }
