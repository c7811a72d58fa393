"""Figure 10 of the paper: what a training step takes, full attention against RMT. Measured.

GPT-2 in fp32, eager attention, batch 1, AdamW, dropout, full BPTT, segments of 500 and 1000 with
two memory tokens, on one card of 80 GB. Claims: full attention runs out of memory at 8,000 tokens;
RMT is faster and smaller above 4,000 and grows linearly; at inference its memory is constant.
The paper states these in words; its plot has no table of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.costs.operators import count_operators
from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim, Outcome
from rmtscale.report.fits import WITHIN, fit_line, fit_power
from rmtscale.report.quantities import CEILING, MEMORY, TIME, Quantity
from rmtscale.report.series import Group, Series
from rmtscale.report.verdict import duel, end_of
from rmtscale.units import format_bytes, format_percent, format_tokens

SWEEP = "profiles/sweeps/figure-10.toml"
ENDS_AT_TOKENS = 8000
WINS_ABOVE_TOKENS = 4000
CARD_BYTES = (75 * 1024**3, 80 * 1024**3)
"""An A100 80GB holds between these."""
CONSTANT_WITHIN = 0.03
"""The shorter first segment, whose size is what a length leaves over, runs outside the graph."""
_ID_BYTES = 8
"""The token ids of the whole input are the one thing that grows with it."""


def training_group(groups: Sequence[Group]) -> Group:
    """Returns the records of the figure: GPT-2, training, fp32; capped ones before others.

    Raises:
        BadInput: there are none.
    """
    candidates = [
        group
        for group in groups
        if (group.setting.model.name, group.setting.mode, group.setting.dtype)
        == ("gpt2", "train", "fp32")
    ]
    if not candidates:
        raise BadInput(f"records: expected gpt2, train, fp32 among them, as {SWEEP} has it")
    return min(candidates, key=lambda group: not _is_80_gb(group))


def check_claims(group: Group, groups: Sequence[Group]) -> list[Claim]:
    """Checks every claim of the figure against the records."""
    rmts = group.of("rmt")
    claims = [_out_of_memory(group)]
    for quantity in (MEMORY, TIME):
        claims += [_wins(group, rmt, quantity) for rmt in rmts] or [_unmeasured_win(quantity)]
    for quantity in (MEMORY, TIME):
        claims += [_linear(rmt, quantity, group.noise_of(quantity)) for rmt in rmts]
        claims += [_steeper(full, quantity) for full in group.of("full")]
    inference = [
        rmt for other in groups if other.setting.mode == "forward" for rmt in other.of("rmt")
    ]
    claims += [_constant(rmt) for rmt in inference] or [
        Claim(
            "RMT: memory constant in length at inference",
            "constant",
            "no inference in these records",
            "not measurable",
        )
    ]
    return claims


def explain(group: Group, claims: Sequence[Claim]) -> list[str]:
    """Says what differs from the paper's measurement, and what that does to the claims."""
    machine, limit = group.setting.machine, group.setting.memory_limit_bytes
    notes = []
    if "A100" not in machine:
        cap = f", capped at {format_bytes(limit)}" if limit else ""
        notes.append(
            f"Measured on {machine}{cap}; the paper's card is an A100 80GB. Times are of another "
            "card, so lengths at which one becomes faster than the other may move."
        )
    attention = {record.point.attention for series in group.series for record in series.records}
    if attention - {"eager"}:
        notes.append(
            f"Attention here is {' and '.join(sorted(attention))}; the paper's is eager, which "
            "keeps the whole square of scores and ends earlier."
        )
    if not group.setting.dropout:
        notes.append("Without dropout here; the paper trains with it, which takes more memory.")
    unmeasured = [claim for claim in claims if claim.outcome == "not measurable"]
    notes += [f"Not measurable: {claim.text} ({claim.ours})." for claim in unmeasured]
    notes += [
        f"Differs from the paper: {claim.text}; the paper has {claim.paper}, here {claim.ours}."
        for claim in claims
        if claim.outcome == "fail"
    ]
    failed = [claim.text for claim in claims if claim.outcome == "fail"]
    slow = [rmt for rmt in group.of("rmt") if any(_is_about(text, rmt, TIME) for text in failed)]
    notes += [text for rmt in slow if (text := _pace(group, rmt))]
    noise = group.noise_of(TIME)
    if noise and any(TIME.name in text for text in failed):
        notes.append(
            f"Times scatter here: the A/A pair of this setting differs by {format_percent(noise)}."
        )
    return notes


def _is_about(text: str, rmt: Series, quantity: Quantity) -> bool:
    return text.startswith(f"{rmt.label}: {quantity.better} than")


def _pace(group: Group, rmt: Series) -> str:
    """Explains short segments that are slow because they use less of the card."""
    times, shares = rmt.values(TIME), rmt.values(CEILING)
    rivals = [full.values(CEILING) for full in group.of("full")]
    longest = max(
        (tokens for rival in rivals for tokens in rival if tokens in shares), default=None
    )
    if longest is None:
        return ""
    best = max(rival[longest] for rival in rivals if longest in rival)
    if shares[longest] > 0.8 * best:
        return ""
    point = rmt.at(longest).point
    operators = count_operators(point.built_model, point.workload(), point.recurrence())
    return (
        f"{rmt.label} reaches {format_percent(shares[longest])} of the matmul ceiling at "
        f"{format_tokens(longest)} tokens, full attention {format_percent(best)}: its step is "
        f"{format_tokens(operators)} operators in {TIME.show(times[longest])}, one every "
        f"{TIME.show(times[longest] / operators)}, which suggests that the host that starts them "
        "sets its pace and not the card."
    )


def _is_80_gb(group: Group) -> bool:
    limit = group.limit_bytes()
    return limit is not None and CARD_BYTES[0] <= limit <= CARD_BYTES[1]


def _out_of_memory(group: Group) -> Claim:
    text = f"full attention: out of memory at {format_tokens(ENDS_AT_TOKENS)} tokens, 80 GiB"
    paper = f"out of memory at {format_tokens(ENDS_AT_TOKENS)}"
    fulls = group.of("full")
    if not _is_80_gb(group):
        limit = group.limit_bytes()
        size = "not known" if limit is None else format_bytes(limit)
        return Claim(text, paper, f"the limit here is {size}", "not measurable")
    tried = [full for full in fulls if ENDS_AT_TOKENS in full.outcomes()]
    if not tried:
        return Claim(text, paper, "this length was not measured", "not measurable")
    end = end_of(tried[0])
    if end.outcome not in (None, "out of memory"):
        return Claim(text, paper, end.words(), "not measurable")
    holds = end.failed_tokens == ENDS_AT_TOKENS
    return Claim(text, paper, end.words(), "pass" if holds else "fail", "exact")


def _wins(group: Group, rmt: Series, quantity: Quantity) -> Claim:
    result = duel(group, rmt, quantity)
    text = f"{rmt.label}: {quantity.better} than full attention"
    paper = f"above {format_tokens(WINS_ABOVE_TOKENS)} tokens"
    above = [tokens for tokens in result.wins if tokens > WINS_ABOVE_TOKENS]
    if not above:
        return Claim(text, paper, "no length above it was measured", "not measurable")
    start = result.better_from
    outcome: Outcome = "pass" if start is not None and start <= min(above) else "fail"
    ours = f"{result.from_words()}; {result.ratio_words()}"
    return Claim(text, paper, ours, outcome, "at every length above")


def _unmeasured_win(quantity: Quantity) -> Claim:
    return Claim(
        f"RMT: {quantity.better} than full attention",
        f"above {format_tokens(WINS_ABOVE_TOKENS)} tokens",
        "no RMT in these records",
        "not measurable",
    )


def _linear(rmt: Series, quantity: Quantity, noise: float) -> Claim:
    text = f"{rmt.label}: {quantity.name} grows linearly"
    line = fit_line(rmt.values(quantity))
    if line is None:
        return Claim(text, "linear", "fewer than three points", "not measurable")
    tolerance = max(WITHIN, noise)
    outcome: Outcome = "pass" if line.worst <= tolerance and line.slope > 0 else "fail"
    ours = (
        f"{quantity.show(max(line.constant, 0.0))} + {quantity.show(1000 * line.slope)} "
        f"per 1,000 tokens, within {format_percent(line.worst)}"
    )
    why = "" if tolerance == WITHIN else ", what an A/A pair differs by"
    return Claim(
        text, "linear", ours, outcome, f"every point within {format_percent(tolerance)}{why}"
    )


def _steeper(full: Series, quantity: Quantity) -> Claim:
    text = f"{full.label}: {quantity.name} grows faster than linearly"
    fit = fit_power(full.values(quantity))
    if fit is None:
        return Claim(text, "quadratic in the end", "fewer than three points", "not measurable")
    outcome: Outcome = "pass" if fit.low > 1 else "fail"
    return Claim(
        text, "quadratic in the end", f"exponent {fit.words()}", outcome, "interval above 1"
    )


def _constant(rmt: Series) -> Claim:
    text = f"{rmt.label}: memory constant in length at inference ({rmt.setting.dtype})"
    point = rmt.records[0].point
    free = {
        tokens: value - _ID_BYTES * tokens * point.batch_size
        for tokens, value in rmt.values(MEMORY).items()
        if tokens > (point.segment_size or 0)
    }
    if len(free) < 2:
        return Claim(text, "constant", "fewer than two lengths", "not measurable")
    spread = max(free.values()) / min(free.values()) - 1
    ours = (
        f"{format_bytes(free[max(free)])} at {format_tokens(max(free))} tokens, "
        f"{format_percent(spread)} over all lengths (token ids left out)"
    )
    outcome: Outcome = "pass" if spread <= CONSTANT_WITHIN else "fail"
    return Claim(text, "constant", ours, outcome, format_percent(CONSTANT_WITHIN))
