"""Fills the README's file map and shown output from the tree: ``make readme``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def file_map() -> str:
    """A row for each module: its path and the first line of its docstring."""
    rows = ["", "| file | what it is |", "|---|---|"]
    for path in sorted((ROOT / "rmtscale").rglob("*.py")):
        if path.name == "__init__.py" and path.parent.name != "rmtscale":
            continue
        first = path.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
        rows.append(f"| `{path.relative_to(ROOT)}` | {first} |")
    return "\n".join(rows) + "\n"


def output(line: str) -> str:
    """What a command prints in an 80-column terminal."""
    command = [sys.executable, "-m", "rmtscale", *line.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    lines = [text.rstrip() for text in done.stdout.strip("\n").splitlines()]
    return f"```console\n$ rmtscale {line}\n" + "\n".join(lines) + "\n```"


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8").split("### File map")[0] + "### File map\n"
    text = re.sub(
        r"```console\n\$ rmtscale ([^\n]*)\n.*?```", lambda m: output(m[1]), text, flags=re.S
    )
    path.write_text(text + file_map(), encoding="utf-8")


if __name__ == "__main__":
    main()
