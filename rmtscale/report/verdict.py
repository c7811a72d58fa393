"""The answer in words: from which length on RMT is smaller and faster, and where each one ends.

RMT is held against the best full attention that was measured at the same length in the same
setting doing equal work: the same logits kept, and checkpoints where RMT has them. Pairs of unequal
work stand in a table of their own and in no sentence. A length that one of several passed over is
left out. A point that ran out of memory has lost; a difference in time whose quartiles overlap, or
that is smaller than that of an A/A pair, is none.

Where RMT overtakes is known between two measured lengths and said so: the longest at which it is
known to lose, and that from which on it wins at every length compared. Nothing is read between the
points. A ratio that may be on either side of one, for the quartiles or the A/A pair, is its ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.report.noise import overlap
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.report.series import Group, Series
from rmtscale.units import format_bytes, format_ratio, format_tokens

NOT_MEASURED = "not measured"
OUTCOMES = {
    "oom": "out of memory",
    "timeout": "out of time",
    "crashed": "crashed",
    "skipped": "skipped",
}


@dataclass(frozen=True, slots=True)
class Duel:
    """One RMT series against the best full attention, in one quantity."""

    rmt: Series
    quantity: Quantity
    ratios: dict[int, float]
    """Full over RMT by length, where both were measured."""
    wins: dict[int, bool]
    """The winner by length, also where only one of the two ran to its end."""
    losses: frozenset[int] = frozenset()
    """Lengths at which full attention needs less, by more than the noise."""
    spans: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Between which numbers each ratio lies, for the quartiles of both and the A/A pair."""
    difference: str = ""
    """Work that full attention does otherwise (``forms the logits of every token``); empty for
    equal work."""

    @property
    def better_from(self) -> int | None:
        """The shortest length from which on RMT wins at every length compared."""
        shortest = None
        for tokens in sorted(self.wins, reverse=True):
            if not self.wins[tokens]:
                break
            shortest = tokens
        return shortest

    @property
    def worse_until(self) -> int | None:
        """The longest length before ``better_from`` at which RMT is known to need more."""
        end = max(self.wins, default=0) + 1 if self.better_from is None else self.better_from
        lost = self.losses | {t for t, won in self.wins.items() if not won and t not in self.ratios}
        return max((tokens for tokens in lost if tokens < end), default=None)

    @property
    def longest(self) -> int | None:
        """The longest length that both ran."""
        return max(self.ratios, default=None)

    def ratio_words(self) -> str:
        """Returns ``x3.10 at 7,000``: full over RMT at the longest length that both ran."""
        if self.longest is None:
            return NOT_MEASURED
        return f"{self.ratio_at(self.longest)} at {format_tokens(self.longest)}"

    def ratio_at(self, tokens: int) -> str:
        """Returns ``x3.10``, or ``x0.95 to x1.10`` where it is not known which needs less."""
        low, high = self.spans.get(tokens, (self.ratios[tokens],) * 2)
        if low < 1 < high:
            return f"{format_ratio(low)} to {format_ratio(high)}"
        return format_ratio(self.ratios[tokens])

    def from_words(self) -> str:
        """Returns ``between 3,000 and 4,000``, ``1,000 or before``, ``not by 7,000``."""
        if not self.wins:
            return NOT_MEASURED
        if self.better_from is None:
            last = max(self.wins)
            known = "" if self.worse_until == last else "known "
            return f"not {known}by {format_tokens(last)}"
        if self.worse_until is None:
            return f"{format_tokens(self.better_from)} or before"
        return f"between {format_tokens(self.worse_until)} and {format_tokens(self.better_from)}"


@dataclass(frozen=True, slots=True)
class End:
    """How far a series goes."""

    series: Series
    last_tokens: int | None
    """The longest that ran."""
    failed_tokens: int | None
    """The shortest failure beyond it."""
    outcome: str | None
    """How that one failed, in words."""

    def words(self) -> str:
        """Returns ``7,000; out of memory at 8,000``."""
        ran = "none ran" if self.last_tokens is None else format_tokens(self.last_tokens)
        if self.failed_tokens is None:
            return ran
        return f"{ran}; {self.outcome} at {format_tokens(self.failed_tokens)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of one group of series."""

    group: Group
    sentences: tuple[str, ...]
    duels: tuple[tuple[Duel, Duel], ...]
    """``(memory, time)`` of each RMT series, against full attention of equal work."""
    ends: tuple[End, ...]
    unequal: tuple[tuple[Duel, Duel], ...] = ()
    """Pairs with full attention of other work, one for each difference."""

    def headline(self) -> str:
        return self.sentences[0]


def work_difference(full: Point, rmt: Point) -> str:
    """Returns what full attention does that this RMT does not; empty: equal work."""
    if (full.logits, rmt.logits) == ("all", "last"):
        return "forms the logits of every token"
    recomputes = _recomputes(rmt)
    if full.checkpoint_layers != recomputes:
        return "keeps what RMT recomputes" if recomputes else "recomputes what RMT keeps"
    return ""


def with_work_of(full: Series, rmt: Series) -> Series:
    """Returns the points of full attention as they would have to be for the work of this RMT."""
    logits = rmt.point.logits if full.point.logits is not None else None
    recomputes = _recomputes(rmt.point)
    records = tuple(
        replace(record, point=replace(record.point, logits=logits, checkpoint_layers=recomputes))
        for record in full.records
    )
    return replace(full, records=records)


def _recomputes(rmt: Point) -> bool:
    return rmt.checkpoint_segments or rmt.checkpoint_layers


def best_full(rivals: Sequence[Series], group: Group, quantity: Quantity) -> dict[int, Record]:
    """Returns the one of some series of full attention that needs the least, by length.

    Without the lengths that one of them passed over: the best there may be the one not tried.
    """
    best: dict[int, Record] = {}
    passed_over = {
        tokens
        for series in rivals
        for tokens in group.lengths()
        if min(series.outcomes()) < tokens < max(series.outcomes())
        and tokens not in series.outcomes()
    }
    for series in rivals:
        for tokens, value in series.values(quantity).items():
            there = quantity.read(best[tokens]) if tokens in best else None
            if tokens not in passed_over and (there is None or value < there):
                best[tokens] = series.at(tokens)
    return best


def duel(group: Group, rmt: Series, quantity: Quantity, difference: str = "") -> Duel:
    """Compares one RMT series with the best full attention of its group.

    Args:
        difference: of the work of the full attention that is compared; empty for equal work.
    """
    rivals = [
        full for full in group.of("full") if work_difference(full.point, rmt.point) == difference
    ]
    best = best_full(rivals, group, quantity)
    mine = rmt.values(quantity)
    failed = _out_of_memory(rivals) - set(best)
    ratios: dict[int, float] = {}
    wins: dict[int, bool] = {}
    losses = set()
    room = 1 + group.noise_of(quantity)
    spans: dict[int, tuple[float, float]] = {}
    for tokens, outcome in sorted(rmt.outcomes().items()):
        theirs = quantity.read(best[tokens]) if tokens in best else None
        if tokens in mine and theirs is not None:
            ratios[tokens] = theirs / mine[tokens]
            same = overlap(rmt.at(tokens), best[tokens], quantity)
            spans[tokens] = _span(ratios[tokens], best[tokens], rmt.at(tokens), quantity, room)
            wins[tokens] = ratios[tokens] > room and not same
            if ratios[tokens] < 1 / room and not same:
                losses.add(tokens)
        elif tokens in mine and tokens in failed:
            wins[tokens] = True
        elif theirs is not None and outcome in ("oom", "skipped"):
            wins[tokens] = False
    return Duel(rmt, quantity, ratios, wins, frozenset(losses), spans, difference)


def _span(
    ratio: float, full: Record, rmt: Record, quantity: Quantity, room: float
) -> tuple[float, float]:
    """Between which numbers a ratio lies, by the quartiles of both and by the A/A pair."""
    ends = [ratio / room, ratio * room]
    if quantity.spread is not None:
        a, b = quantity.spread(full), quantity.spread(rmt)
        if a is not None and b is not None:
            ends += [a[0] / b[1], a[1] / b[0]]
    return min(ends), max(ends)


def end_of(series: Series) -> End:
    """Returns how far a series goes, and what ended it."""
    outcomes = series.outcomes()
    last = max((tokens for tokens, outcome in outcomes.items() if outcome == "ok"), default=None)
    beyond = [tokens for tokens, outcome in outcomes.items() if outcome != "ok"]
    failed = min((tokens for tokens in beyond if tokens > (last or 0)), default=None)
    return End(series, last, failed, None if failed is None else OUTCOMES[outcomes[failed]])


def judge(group: Group) -> Verdict:
    """Returns the verdict of one group."""
    duels = tuple((duel(group, rmt, MEMORY), duel(group, rmt, TIME)) for rmt in group.of("rmt"))
    unequal = tuple(
        (duel(group, rmt, MEMORY, difference), duel(group, rmt, TIME, difference))
        for rmt in group.of("rmt")
        for difference in _differences(group, rmt)
    )
    ends = tuple(end_of(series) for series in group.series)
    sentences = [_opening(group, duels, unequal), *(_wins(*pair) for pair in _best(duels))]
    sentences += _lost(duels)
    sentences += [text for method in ("full", "rmt") if (text := _ending(group, ends, method))]
    shown = [text for text in sentences if text]
    if not sentences[0]:
        shown[0] = f"{group.where()}: {shown[0]}"
    return Verdict(group, tuple(shown), duels, ends, unequal)


def _differences(group: Group, rmt: Series) -> list[str]:
    """The ways in which full attention of the group does other work than this RMT."""
    named = (work_difference(full.point, rmt.point) for full in group.of("full"))
    return list(dict.fromkeys(filter(None, named)))


def _opening(
    group: Group, duels: Sequence[tuple[Duel, Duel]], unequal: Sequence[tuple[Duel, Duel]]
) -> str:
    """Names missing measurements, if any."""
    where = group.where()
    if not group.measured():
        return f"{where}: {NOT_MEASURED}, no point ran to its end."
    full, rmt = (
        any("ok" in series.outcomes().values() for series in group.of(method))
        for method in ("full", "rmt")
    )
    if full and rmt:
        if any(contest.wins for pair in duels for contest in pair):
            return ""
        others = dict.fromkeys(pair[0].difference for pair in unequal if pair[0].wins)
        if others:
            return (
                f"{where}: RMT against full attention of equal work is {NOT_MEASURED}; full "
                f"attention {' or '.join(others)} here, which the tables show."
            )
        return (
            f"{where}: RMT against full attention is {NOT_MEASURED}, they have no length in common."
        )
    there, missing = ("full attention", "RMT") if full else ("RMT", "full attention")
    asked = group.of("rmt" if full else "full")
    why = "no point of it ran to its end" if asked else "it is not in the records"
    return f"{where}: {missing} against {there} is {NOT_MEASURED}, {why}."


def _best(duels: Sequence[tuple[Duel, Duel]]) -> list[tuple[Duel, Duel]]:
    """Chooses, among many RMTs, the smallest and the fastest at the longest lengths."""
    contest = [pair for pair in duels if pair[0].wins or pair[1].wins]
    if len(contest) <= 2:
        return contest

    def last(contest: Duel) -> tuple[int, float]:
        return (contest.longest or 0, contest.ratios[contest.longest] if contest.longest else 0.0)

    smallest = max(contest, key=lambda pair: last(pair[0]))
    fastest = max(contest, key=lambda pair: last(pair[1]))
    return [pair for pair in contest if pair in (smallest, fastest)]


def _wins(memory: Duel, time: Duel) -> str:
    clauses = []
    for contest in (memory, time):
        if not contest.wins:
            clauses.append(f"not known to be {contest.quantity.better}")
        elif len(contest.wins) == 1:
            length = format_tokens(min(contest.wins))
            verb = "" if contest.better_from is not None else "not "
            clauses.append(f"{verb}{contest.quantity.better} at {length}, the only length compared")
        elif contest.better_from is None:
            last = max(contest.wins)
            known = "" if contest.worse_until == last else "known to be "
            clauses.append(f"not {known}{contest.quantity.better} by {format_tokens(last)} tokens")
        elif all(contest.wins.values()):
            clauses.append(f"{contest.quantity.better} at every length measured")
        elif contest.worse_until is None:
            start = format_tokens(contest.better_from)
            clauses.append(f"{contest.quantity.better} from {start} tokens on or before")
        else:
            clauses.append(
                f"{contest.quantity.better} from a length {contest.from_words()} tokens on"
            )
    text = f"{memory.rmt.label} is {clauses[0]} and {clauses[1]}"
    if clauses[0] == clauses[1].replace(time.quantity.better, memory.quantity.better):
        both = "or" if clauses[0].startswith("not ") else "and"
        text = f"{memory.rmt.label} is " + clauses[0].replace(
            memory.quantity.better, f"{memory.quantity.better} {both} {time.quantity.better}"
        )
    if memory.longest is not None and memory.longest == time.longest:
        text += (
            f"; at {format_tokens(memory.longest)}, the longest that both ran, full attention "
            f"takes {memory.ratio_at(memory.longest)} the memory and "
            f"{time.ratio_at(time.longest)} the time"
        )
    return f"{text}."


def _lost(duels: Sequence[tuple[Duel, Duel]]) -> list[str]:
    """Names the lengths at which full attention wins against every RMT."""
    clauses = []
    for which in (1, 0):
        row = [pair[which] for pair in duels if pair[which].ratios]
        lengths = sorted({tokens for contest in row for tokens in contest.ratios})
        lost = [
            tokens
            for tokens in lengths
            if all(tokens in contest.losses for contest in row if tokens in contest.ratios)
        ]
        if lost:
            named = ", ".join(format_tokens(tokens) for tokens in lost)
            better = duels[0][which].quantity.better
            clauses.append(f"Full attention is {better} than every RMT at {named} tokens.")
    return clauses


def _ending(group: Group, ends: Sequence[End], method: str) -> str:
    """Says where the longest series of a method ends."""
    mine = [end for end in ends if end.series.method == method]
    name = "Full attention" if method == "full" else "RMT"
    if not mine:
        return f"{name}: {NOT_MEASURED}."
    far = max(mine, key=lambda end: end.last_tokens or 0)
    if far.failed_tokens is None:
        return f"{name} ran at every length up to {format_tokens(far.last_tokens or 0)} tokens."
    limit = group.limit_bytes()
    room = f" ({format_bytes(limit)})" if limit and far.outcome == OUTCOMES["oom"] else ""
    if far.last_tokens is None:
        return f"{name} ends before {format_tokens(far.failed_tokens)} tokens: {far.outcome}{room}."
    return (
        f"{name} ends at {format_tokens(far.last_tokens)} tokens; at "
        f"{format_tokens(far.failed_tokens)} it is {far.outcome}{room}."
    )


def _out_of_memory(series: Sequence[Series]) -> set[int]:
    """Lengths at which a series ran out of memory, or was skipped because it had before."""
    lost: set[int] = set()
    for each in series:
        outcomes = each.outcomes()
        first = min((t for t, outcome in outcomes.items() if outcome == "oom"), default=None)
        if first is not None:
            lost |= {
                t for t, outcome in outcomes.items() if t >= first and outcome in ("oom", "skipped")
            }
    return lost
