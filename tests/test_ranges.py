"""No crossover, speed-up or time that may be otherwise is ever printed or drawn as one number.

Every module that formats a time, a ratio or a length from which one way is ahead is listed here,
with why one number may stand there; a new one has to be listed too. The others are asked a
question whose answer is not known, and have to say so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

import pytest

from rmtscale.costs.comparison import compare_methods
from rmtscale.costs.methods.catalog import METHODS
from rmtscale.records.record import Record
from rmtscale.records.store import Reading
from rmtscale.report.document import Source, make_document
from rmtscale.report.field import overtaking_rows
from rmtscale.report.figures import predicted, speed_up
from rmtscale.report.series import group_records
from rmtscale.report.text import markdown_report
from rmtscale.specs.catalog import PRESETS
from rmtscale.study.figures.figure_10.claims import check_claims, training_group
from tests.command_line import Command
from tests.sources import parsed, walk
from tests.synthetic.records import figure_10, record

FORMATS = {"format_seconds", "format_ratio"}
CROSSINGS = {"break_even_tokens", "below_for_good_tokens", "faster_from"}

COUNTED = "FLOPs, bytes or tokens in closed form, exact as integers"
MEASURED = "measured, with its spread beside it or in the record"
BOUND = "one end of a range, or a lower bound that is called one"
ELAPSED = "the clock of the run itself, or what is left of it, called about"
TOLD = {
    "cli/calibrate.py": MEASURED,
    "cli/evaluate_babilong.py": ELAPSED,
    "cli/flops.py": COUNTED,
    "cli/memory.py": COUNTED,
    "cli/generate_cost.py": f"{COUNTED}; {BOUND}",
    "cli/waiting.py": ELAPSED,
    "cli/progress.py": ELAPSED,
    "cli/training_progress.py": ELAPSED,
    "cli/training_result.py": ELAPSED,
    "costs/advice.py": "named only where the least that it saves is more than nothing",
    "costs/generation.py": BOUND,
    "costs/roofline.py": BOUND,
    "report/field.py": COUNTED,
    "report/measured.py": MEASURED,
    "report/quantities.py": f"{MEASURED}; predictions go through show_span",
    "report/style.py": "ticks of an axis",
    "report/tables.py": f"{MEASURED}; whether it is noise stands in the next column",
    "report/verdict.py": f"{MEASURED}; both ends where they lie on either side of one",
    "study/figures/babilong/ablation_table.py": ELAPSED,
    "study/figures/babilong/claims.py": ELAPSED,
    "study/figures/babilong/runs_page.py": ELAPSED,
    "study/figures/babilong/tables.py": f"{ELAPSED}; of full attention {BOUND}",
    "study/figures/figure_8/claims.py": MEASURED,
    "study/figures/figure_8/cost_quality.py": MEASURED,
    "study/figures/figure_8/table.py": MEASURED,
    "study/figures/pretrained_decoder/tables.py": MEASURED,
    "study/figures/table_1/table.py": MEASURED,
}
"""Modules that format one time or ratio, and why they may."""
CROSSED = {
    "cli/flops.py": COUNTED,
    "cli/memory.py": COUNTED,
    "costs/by_length.py": f"{COUNTED}; of a roofline the least, and no most",
    "costs/comparison.py": COUNTED,
    "costs/crossover.py": "makes intervals of many",
    "costs/plan.py": COUNTED,
}
"""Modules that search for a length from which one way is ahead, and what is said of it."""


def users(names: set[str]) -> set[str]:
    """Modules that call one of the functions, or hand it on; not those that define it."""
    found = set()
    for file, tree in parsed().items():
        defined = {node.name for node in walk(tree) if isinstance(node, ast.FunctionDef)}
        used = {node.id for node in walk(tree) if isinstance(node, ast.Name)}
        if used & names - defined:
            found.add(file)
    return found


@pytest.mark.parametrize(("names", "told"), [(FORMATS, TOLD), (CROSSINGS, CROSSED)])
def test_every_place_is_listed(names: set[str], told: dict[str, str]) -> None:
    assert users(names) == set(told)


def open_records() -> list[Record]:
    """Full attention and an RMT whose quartiles overlap at the longest length; RMT loses before."""
    records = figure_10([4000, 6000])
    return [
        record(
            one.point,
            slower=3.0 if one.point.method == "rmt" and one.point.tokens == 4000 else 1.0,
            jitter=0.9,
        )
        for one in records
        if not one.point.replicate
    ]


def page() -> str:
    return markdown_report(make_document([Source("a", Reading(tuple(open_records())))]))


def claims() -> str:
    groups = group_records(open_records())
    return " ".join(claim.ours for claim in check_claims(training_group(groups), groups))


def speed_up_words() -> str:
    groups = group_records(open_records())
    figure = speed_up.draw(groups)
    assert figure is not None
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


RANGE = r"x[\d.]+ to x?[\d.]+|\d to \d|between [\d,]+ and [\d,]+"
NOT_KNOWN = rf"not known|{RANGE}|not (by|before) [\d,]+"
ASKED: dict[str, str | Callable[[], str]] = {
    "plan": "plan -m gpt2 -d h200 --mode train --precision bf16",
    "plan, a GPU that nobody measured": "plan -m gpt2 -d a100-80gb --mode train",
    "plan, another method": "plan -m gpt2 -d h200 --method mamba --mode forward",
    "plan, many GPUs": "plan -m opt-1.3b -d h200 --gpus 8 --tokens 64k --mode prefill",
    "estimate": "estimate -m gpt2 -d h200 --tokens 4k",
    "estimate, writing": "estimate -m gpt2 -d h200 --tokens 4k --mode generate",
    "generate-cost": "generate-cost -m gpt2 -d h200 --context 64",
    "profile": "profile --preset figure-10 --tokens 4k --dry-run --predict-for a100-80gb",
    "report": page,
    "report, its figure of speed-ups": speed_up_words,
    "figure-10": claims,
}


@pytest.mark.parametrize("place", ASKED)
def test_what_is_not_known_is_said(place: str, rmtscale: Command) -> None:
    """And no line names a time of a prediction alone."""
    asked = ASKED[place]
    if isinstance(asked, str):
        done = rmtscale(*asked.split())
        assert (done.code, done.err) == (0, "")
        text = done.out
    else:
        text = asked()
    assert re.search(NOT_KNOWN, " ".join(text.split()))
    assert "nowhere" not in text


def test_a_prediction_is_drawn_with_its_interval() -> None:
    groups = group_records(open_records())
    figure = predicted.draw_time(groups)
    assert figure is not None
    top, below = figure.axes[:2]
    assert len(top.collections) >= len(groups[0].series)  # a band for each
    bars = [line for line in below.lines if line.get_linewidth() == 3.0]
    assert len(bars) == len(groups[0].series)


def test_of_methods_each_pair_is_counted_to_its_last_crossing() -> None:
    methods = [METHODS[name] for name in ("full", "rmt", "bigbird")]
    rows = overtaking_rows(compare_methods(PRESETS["bert-large-cased"], methods, [512]))
    assert all(isinstance(row["from_tokens"], int) for row in rows)
