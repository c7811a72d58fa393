"""Tables of a plan, and its answer in sentences."""

from __future__ import annotations

from rmtscale.cli.output import write_line, write_table, write_text
from rmtscale.costs.breakeven import LONGEST_TOKENS
from rmtscale.costs.crossover import Crossover
from rmtscale.costs.plan import Plan
from rmtscale.specs.model import ModelSpec
from rmtscale.units import format_count, format_tokens

TITLES = {"prefill": "prefill", "train": "training", "forward": "one pass"}
LIMITS = (
    "full_longest_tokens",
    "full_checkpointed_longest_tokens",
    "longest_tokens",
    "checkpointed_longest_tokens",
)
_LESS_TIME, _LESS_TIME_CAPTURED = "less_time", "less_time_captured"
Plans = dict[str, Plan]
"""A plan for each mode."""


def _less_time(plan: Plan) -> Crossover:
    return Crossover(plan.less_time_least_tokens, plan.less_time_most_tokens)


def _captured_words(plan: Plan, *, short: bool = False) -> str:
    """From where on captured training steps need less time, where that is elsewhere."""
    captured = Crossover(plan.less_time_captured_least_tokens, plan.less_time_captured_most_tokens)
    if not plan.capturable or captured == _less_time(plan):
        return ""
    return captured.short if short else captured.words


def write_answers(plans: Plans, convention: str, title: str, *, timed: bool) -> None:
    compared = {
        f"{title} needs fewer FLOPs ({convention}) from": "fewer_flops_tokens",
        f"{title} needs less memory from": "less_memory_tokens",
        "  both with activation checkpoints": "less_memory_checkpointed_tokens",
        **(
            {f"{title} needs less time": _LESS_TIME, "  captured": _LESS_TIME_CAPTURED}
            if timed
            else {}
        ),
    }
    ends = {
        "full attention fits up to": "full_longest_tokens",
        "  with one checkpoint per layer up to": "full_checkpointed_longest_tokens",
    }
    others = {
        f"{title} fits up to": "longest_tokens",
        "  with one checkpoint per segment up to": "checkpointed_longest_tokens",
    }
    questions = compared | ends | others if title else ends
    rows = []
    for question, field in questions.items():
        show = _limit if field in LIMITS else _start
        cells = [
            ""
            if "checkpointed" in field
            and (mode != "train" or (title and plan.segment_size is None))
            else _less_time(plan).short
            if field == _LESS_TIME
            else _captured_words(plan, short=True)
            if field == _LESS_TIME_CAPTURED
            else show(getattr(plan, field))
            for mode, plan in plans.items()
        ]
        if any(cells):
            rows.append([question, *cells])
    write_table(["tokens", *(TITLES[mode] for mode in plans)], rows, text_columns=1)


def write_words(spec: ModelSpec, plans: Plans, title: str, *, timed: bool) -> None:
    """The answer in a sentence for each mode: where RMT needs less, and where each one ends."""
    for mode, plan in plans.items():
        if mode == "forward" and "prefill" in plans:
            continue
        parts = [_needs(plan, title, timed=timed)] if title else []
        if plan.full_longest_tokens is None:
            parts.append(f"not one token of {spec.name} fits with full attention")
        else:
            parts.append(f"full attention {_reach(plan.full_longest_tokens)}")
        parts += _further(plan.full_longest_tokens, plan.full_checkpointed_longest_tokens, "layer")
        if title:
            parts.append(f"{title} {_reach(plan.longest_tokens)}")
            parts += _further(plan.longest_tokens, plan.checkpointed_longest_tokens, "segment")
        write_text(f"{TITLES[mode].capitalize()}: {'; '.join(parts)}.")


def _needs(plan: Plan, title: str, *, timed: bool) -> str:
    """From where on the other way needs less of anything."""
    words = (
        f"{title} needs {_from('fewer FLOPs', plan.fewer_flops_tokens)}, "
        f"{_from('less memory', plan.less_memory_tokens)}"
    )
    if not timed:
        return words
    captured = _captured_words(plan)
    more = f" (captured {captured})" if captured else ""
    return f"{words}, and less time {_less_time(plan).words}{more}"


def _from(what: str, tokens: int | None) -> str:
    if tokens is None:
        return f"no {what} at any length"
    return f"{what} from {format_tokens(tokens)} tokens on"


def _further(longest: int | None, checkpointed: int | None, each: str) -> list[str]:
    """How much further activation checkpoints reach, where they do."""
    if checkpointed is None or (longest is not None and checkpointed <= longest):
        return []
    return [f"with one checkpoint per {each} it {_reach(checkpointed)}"]


def write_sizes(by_size: dict[int, Plans], chosen: int, *, timed: bool) -> None:
    write_line()
    write_line("Another segment size (RMT needs less from ..., and fits up to ...)")
    rows = []
    for size, plans in by_size.items():
        for mode, plan in plans.items():
            if mode == "forward" and "prefill" in plans:
                continue
            rows.append(
                [
                    f"{size}{' *' if size == chosen else ''}",
                    TITLES[mode],
                    _start(plan.fewer_flops_tokens),
                    _start(plan.less_memory_tokens),
                    *([_less_time(plan).short] if timed else []),
                    _limit(plan.longest_tokens),
                    _limit(plan.checkpointed_longest_tokens) if mode == "train" else "",
                ]
            )
    time = ["time"] if timed else []
    columns = ["segment", "", "FLOPs", "memory", *time, "fits up to", "checkpointed"]
    write_table(columns, rows, text_columns=2)


def _start(tokens: int | None) -> str:
    return "never" if tokens is None else format_tokens(tokens)


def _limit(tokens: int | None) -> str:
    if tokens is None:
        return "does not fit"
    return f"over {format_count(tokens)}" if tokens >= LONGEST_TOKENS else format_tokens(tokens)


def _reach(tokens: int | None) -> str:
    if tokens is None:
        return "does not fit either"
    if tokens >= LONGEST_TOKENS:
        return f"has no end below {format_count(tokens)} tokens"
    return f"ends at {format_tokens(tokens)}"
