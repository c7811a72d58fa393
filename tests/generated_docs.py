"""Fills what the pages take from the code: shown output, counts and tables. ``make docs``.

Between ``<!-- made: NAME -->`` and ``<!-- /made -->`` stands what ``MAKERS[NAME]`` returns; below
``$ rmtscale ...`` in a console block stands what the command prints.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests import notebook, reference

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
"""The pages that are written by hand, but for what ``fill`` puts into them."""

_MADE = re.compile(r"(<!-- made: ([a-z-]+) -->)(.*?)(<!-- /made -->)", flags=re.S)
_SHOWN = re.compile(r"```console\n\$ rmtscale ([^\n]*)\n(.*?)```", flags=re.S)


def shown_commands(text: str) -> list[tuple[str, str]]:
    """The arguments of every command whose output a page shows, and that output."""
    return _SHOWN.findall(text)


def fill_made(text: str) -> str:
    """A page with its counts and tables made anew."""
    return _MADE.sub(lambda match: match[1] + MAKERS[match[2]]() + match[4], text)


def fill_shown(text: str, run: Callable[[str], str]) -> str:
    """A page with the output of its commands made anew; ``run`` returns what a command prints."""
    return _SHOWN.sub(lambda match: _block(match[1], run(match[1])), text)


def _block(line: str, printed: str) -> str:
    lines = [text.rstrip() for text in printed.strip("\n").splitlines()]
    return f"```console\n$ rmtscale {line}\n" + "\n".join(lines) + "\n```"


def count_presets() -> str:
    """How many model presets there are."""
    from rmtscale.specs import catalog, current

    return str(len(catalog.PRESETS) + len(current.PRESETS))


def count_rmt_presets() -> str:
    """How many presets an RMT can be put around."""
    from rmtscale.specs.catalog import PRESETS

    return str(len(PRESETS))


def count_devices() -> str:
    """How many GPUs are known by name."""
    from rmtscale.specs.devices import DEVICES

    return str(len(DEVICES))


def count_designs() -> str:
    """How many designs for long inputs there are besides full attention and RMT."""
    from rmtscale.costs.methods.catalog import METHODS

    return str(len(set(METHODS) - {"full", "rmt"}))


def retention_table() -> str:
    """What is right after two million tokens, by task and seed, as Figure 5 has it.

    A seed that was trained more than once counts once, by the worst of its trainings, each in its
    first state.
    """
    from rmtscale.study.figures.memory_tasks.trainings import first_states
    from rmtscale.study.figures.published_points import published_rows
    from rmtscale.study.records.evaluation import EvaluationStore
    from rmtscale.units import format_bytes

    store = EvaluationStore(ROOT / "reports" / "figure-5" / "records.jsonl")
    # The pretrained encoder has a table of its own on the figure's page.
    records = [
        one
        for one in first_states(store.read().latest().values())
        if one.trained_backbone is not None and not one.trained_backbone.pretrained
    ]
    longest = max(one.point.segments for one in records)
    paper = {
        row["task"]: float(row["accuracy_pct"])
        for row in published_rows("figure_5")
        if int(row["segments"]) == longest
    }
    lines = [
        "",
        "| task | ours, a seed each | the paper | peak memory at every length |",
        "|---|---|---|---|",
    ]
    for task in dict.fromkeys(one.point.task for one in records):
        own = [one for one in records if one.point.task == task]
        ends: dict[int, list[float]] = {}
        for one in own:
            if one.point.segments == longest:
                ends.setdefault(one.trained_seed, []).append(100 * one.accuracy)
        shares = [min(ends[seed]) for seed in sorted(ends)]
        published = paper[task.replace("-", "&")]
        ours = f"{', '.join(f'{share:.1f}' for share in shares)} %"
        ours = f"**{ours}**" if min(shares) < published else ours
        (peak,) = {format_bytes(one.memory.peak_allocated_bytes or 0) for one in own}
        title = task.replace("-", " & ").title()
        lines.append(f"| {title} | {ours} | {published:.1f} % | {peak} |")
    return "\n".join([*lines, ""])


def peer_table() -> str:
    """What other calculators say of the published configs, one line each, ours first."""
    with (ROOT / "reports" / "models" / "peers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "",
        "| calculator | parameters: files | exact | median error | worst "
        "| FLOPs: files | exact | median error | worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for calculator in dict.fromkeys(row["calculator"] for row in rows):
        cells = [calculator]
        for quantity in ("parameters", "flops"):
            known = [
                row for row in rows if row["calculator"] == calculator and row[f"true_{quantity}"]
            ]
            errors = [
                abs(float(row[f"{quantity}_error"])) for row in known if row[f"{quantity}_error"]
            ]
            cells += [
                f"{len(errors)} of {len(known)}",
                str(errors.count(0)),
                f"{100 * statistics.median(errors):.1f} %",
                f"{100 * max(errors):.1f} %",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def figure_table() -> str:
    """What ``rmtscale reproduce`` makes: every figure, its report, and what it is made from."""
    from rmtscale.study.figures.registry import FIGURES

    lines = ["", "| name | what it shows | made from |", "|---|---|---|"]
    for name, figure in FIGURES.items():
        lines.append(f"| `{name}` | {_report_of(name, figure.title)} | {figure.kind.title} |")
    return "\n".join([*lines, ""])


def _report_of(name: str, title: str) -> str:
    """The title, which leads to the report where there is one."""
    page = ROOT / "reports" / name / "README.md"
    return (
        f"[{title}](../reports/{name}/README.md)" if page.is_file() else f"{title}, no report yet"
    )


def figure_list() -> str:
    """The reports of all figures, a line each."""
    from rmtscale.study.figures.registry import FIGURES

    lines = [f"* {_report_of(name, figure.title)}" for name, figure in FIGURES.items()]
    return "\n".join(["", *lines, ""])


def old_options() -> str:
    """The options that had another name, and the commands that take them."""
    from rmtscale.cli.main import COMMANDS
    from rmtscale.cli.options import OLD_OPTIONS
    from tests.command_line import options_of

    rows = [
        f"| `--{new}` | `--{old}` | {', '.join(f'`{name}`' for name in taking)} |"
        for old, new in OLD_OPTIONS.items()
        if (taking := [name for name in COMMANDS if f"--{new}" in options_of(name)])
    ]
    return "\n".join(["", "| option | was | command |", "|---|---|---|", *rows, ""])


def old_fields() -> str:
    """The fields of settings, states and records that had another name."""
    from rmtscale.study.records.old_names import FIELDS

    rows = [f"| `{new}` | `{old}` |" for old, new in FIELDS.items()]
    return "\n".join(["", "| field | was |", "|---|---|", *rows, ""])


def layer_table() -> str:
    """The parts of the package by layer, the lowest first."""
    from tests.test_layers import LAYERS

    parts: dict[float, list[str]] = {}
    for name, layer in LAYERS.items():
        parts.setdefault(layer, []).append(name)
    rows = [
        f"| {number} | {', '.join(f'`{name}`' for name in parts[layer])} |"
        for number, layer in enumerate(sorted(parts))
    ]
    return "\n".join(["", "| layer | parts |", "|---|---|", *rows, ""])


def file_map() -> str:
    """A table for each folder of the package: modules and the first line of their docstrings."""
    parts = ["", ""]
    package = ROOT / "rmtscale"
    folders = [package, *(path for path in package.rglob("*") if path.is_dir())]
    for folder in sorted(folders):
        modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        opening = folder / "__init__.py"
        about = _first_line(opening) if opening.exists() else ""
        if not modules:
            continue
        parts += [f"## `{folder.relative_to(ROOT)}/`", "", *([about, ""] if about else [])]
        parts += ["| file | what it is |", "|---|---|"]
        parts += [f"| `{path.name}` | {_first_line(path)} |" for path in modules]
        parts.append("")
    return "\n".join(parts)


def _first_line(path: Path) -> str:
    """The first line of a module's docstring; nothing if it has none."""
    text = path.read_text(encoding="utf-8")
    return text.split('"""')[1].strip().splitlines()[0] if text.startswith('"""') else ""


def count_rmt_causal() -> str:
    """The share of all causal types that agree with a slow loop."""
    return _count_equal(causal=True)


def count_rmt_encoders() -> str:
    """The share of all encoders that agree with a slow loop."""
    return _count_equal(causal=False)


def _count_equal(*, causal: bool) -> str:
    from tests.rmt.any_backbone import committed
    from tests.rmt.tiny_types import CAUSAL

    rows = [row for row in committed() if causal == (CAUSAL.get(row["model_type"]) == row["class"])]
    return f"{sum(row['rmt'] == 'equal' for row in rows)} of {len(rows)}"


def command_reference() -> str:
    """Every command with its options."""
    return reference.commands_reference()


def python_reference() -> str:
    """Every public name of the package."""
    return reference.python_reference("rmtscale")


def rmt_reference() -> str:
    """Every public name of the RMT."""
    return reference.python_reference("rmtscale.rmt")


MAKERS: dict[str, Callable[[], str]] = {
    "presets": count_presets,
    "rmt-presets": count_rmt_presets,
    "rmt-causal": count_rmt_causal,
    "rmt-encoders": count_rmt_encoders,
    "devices": count_devices,
    "designs": count_designs,
    "retention": retention_table,
    "peers": peer_table,
    "figures": figure_table,
    "figure-list": figure_list,
    "old-options": old_options,
    "old-fields": old_fields,
    "layers": layer_table,
    "files": file_map,
    "command-reference": command_reference,
    "python-reference": python_reference,
    "rmt-reference": rmt_reference,
}


def _run(line: str) -> str:
    """What a command prints in an 80-column terminal."""
    command = [sys.executable, "-m", "rmtscale", *shlex.split(line)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    return done.stdout


def main() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(fill_shown(fill_made(text), _run), encoding="utf-8")
    notebook.fill()


if __name__ == "__main__":
    main()
