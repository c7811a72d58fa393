"""The field: both comparisons, their claims, and what is written."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rmtscale.costs.comparison import compare_methods, select_methods
from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.methods.armt import Armt
from rmtscale.costs.methods.catalog import METHODS, methods_for
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.errors import BadInput
from rmtscale.report.field import facts_table, verdict
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.study.figures.field.drawing import draw
from rmtscale.study.figures.field.page import LENGTHS, MODELS
from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.registry import FIGURES
from tests.drawn import points

pytestmark = pytest.mark.usefixtures("unpainted")
FIELD = FIGURES["field"]
OPT, BERT = PRESETS["opt-1.3b"], PRESETS["bert-large-cased"]


def test_every_method_is_on_one_of_the_two_charts() -> None:
    shown = {method.name for name in MODELS.values() for method in methods_for(PRESETS[name])}
    assert shown == set(METHODS)


def test_run(tmp_path: Path) -> None:
    claims = FIELD.make(tmp_path, Sources())
    assert [claim.outcome for claim in claims] == ["pass"] * 4
    kinds = (".png", ".svg", ".csv", "-break-even.csv")
    names = {f"{stem}{kind}" for stem in MODELS for kind in kinds} | {"README.md"}
    assert {path.name for path in tmp_path.iterdir()} == names
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in METHODS)
    with (tmp_path / "decoders.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(methods_for(OPT)) * len(LENGTHS)
    for row in rows[:: len(LENGTHS) - 1]:
        estimate = estimate_method(OPT, int(row["tokens"]), row["method"])
        assert row["flops"] == str(estimate.flops)
        assert row["state_bytes"] == str(estimate.state_bytes)
    with pytest.raises(BadInput, match="exists already, expected --force"):
        FIELD.make(tmp_path, Sources())


def test_who_overtakes_whom_on_both_sides_of_the_length() -> None:
    methods = [METHODS[name] for name in ("full", "rmt", "mamba", "s4", "hyena", "memorizing")]
    comparison = compare_methods(OPT, methods, [512, 8192])
    # Any two of six in two quantities; full attention's and Hyena's states are equal.
    assert len(comparison.overtakings) == 2 * 15 - 1
    for found in comparison.overtakings:
        for pair in ((found.less, found.more), (found.more, found.less)):
            assert comparison.overtaking(found.quantity, *pair) == found

        def cost(name: str, tokens: int, quantity: str = found.quantity) -> int:
            return int(getattr(estimate_method(OPT, tokens, name), quantity))

        assert cost(found.less, 10**9) < cost(found.more, 10**9)
        assert cost(found.less, found.tokens) < cost(found.more, found.tokens)
        if found.tokens > 1:
            assert cost(found.less, found.tokens - 1) >= cost(found.more, found.tokens - 1)


def test_equal_methods_overtake_nobody() -> None:
    comparison = compare_methods(OPT, [METHODS["full"], METHODS["full"]], [512])
    assert comparison.overtakings == ()


def test_a_mark_stands_at_the_longest_reported_input() -> None:
    methods = [METHODS[name] for name in ("full", "rmt", "armt", "mamba")]
    comparison = compare_methods(OPT, methods, [512, 32_000, 2_048_000])
    axes = draw(comparison).axes[0]
    marks = {
        (points(line)[-1][0], line.get_marker())
        for line in axes.lines
        if line.get_marker() in ("o", ">") and points(line)
    }
    assert marks == {(2_043_904.0, "o"), (1_048_576.0, "o"), (2_048_000.0, ">")}
    low, high = axes.get_ylim()
    names = {text.get_text(): text.xy[1] for text in axes.texts}  # type: ignore[attr-defined]
    assert set(names) == {"full", "rmt", "armt", "mamba"}
    assert all(low <= y <= high for y in names.values())
    assert names["full"] > names["mamba"]


def test_words() -> None:
    comparison = compare_methods(OPT, [METHODS["s4"], METHODS["mamba"]], [512])
    assert verdict(comparison).endswith("None of them takes over a pretrained transformer.")
    comparison = compare_methods(BERT, [METHODS["full"], METHODS["rmt"]], [2_048_000])
    assert verdict(comparison).startswith("At 2,048,000 tokens rmt needs the fewest FLOPs (1.375")
    assert "| `full` | Vaswani et al. 2017 | 413.6 PFLOP |" in facts_table(comparison)


def test_selection() -> None:
    chosen = select_methods("full, rmt,full,armt", OPT, Recurrence(256, 4))
    assert chosen == (METHODS["full"], Rmt(256, 4), Armt(256, 4))
    assert len(select_methods("all", BERT, Recurrence())) == len(methods_for(BERT))
    with pytest.raises(BadInput, match="methods ',': expected a list such as full,rmt,mamba"):
        select_methods(",", OPT, Recurrence())
    with pytest.raises(BadInput, match=r"method 'bigbird': opt-1\.3b is a decoder"):
        select_methods("full,bigbird", OPT, Recurrence())
