"""Prints the lowest version that each dependency of the light part may have, as pip constraints.

``make lowest`` installs exactly those and runs the light tests on them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(requirements: list[str]) -> list[str]:
    """``["rich>=13.7"]`` becomes ``["rich==13.7"]``.

    Raises:
        ValueError: a requirement without a lower bound.
    """
    pinned = []
    for text in requirements:
        requirement = Requirement(text)
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"{text}: expected one lower bound, such as {requirement.name}>=1.0")
        pinned.append(f"{requirement.name}=={bounds[0]}")
    return pinned


def main() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(lowest(project["dependencies"])))  # noqa: T201


if __name__ == "__main__":
    main()
