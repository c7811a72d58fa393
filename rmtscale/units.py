"""The only number formatters and the only parsers of sizes.

Counts, FLOPs and tokens are SI (powers of ten); bytes are IEC (powers of two). Nowhere else in
the project is a number turned into text for people, so that two tables cannot disagree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_COUNT, MOST_TOKENS

_SI = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")
_COUNT = ("", "k", "M", "B", "T")
_IEC = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SIZE = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)([kKMGT]?)(i?)")
_BYTES = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)\s*([KMGT])(i?)B")
_POWER = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
Share = float | Fraction
"""A part of a whole: exact where it is a mean of counts, and nothing may be lost in adding them."""


def _scaled(value: float, base: int, prefixes: tuple[str, ...], digits: int) -> tuple[str, str]:
    power = 0
    # 999.96 shown with four digits is 1000: compare what will be printed, not what is stored.
    while abs(value) >= base - 0.5 * 10.0 ** (3 - digits) and power < len(prefixes) - 1:
        value /= base
        power += 1
    before = len(str(int(abs(value))))
    return f"{value:.{max(digits - before, 0)}f}", prefixes[power]


def format_flops(flops: float, digits: int = 4) -> str:
    """Formats FLOPs in SI: ``734.8 TFLOP``."""
    text, prefix = _scaled(flops, 1000, _SI, digits)
    return f"{text} {prefix}FLOP"


def format_count(count: float, digits: int = 4) -> str:
    """Formats a count as the field writes it: ``125.2M``, ``174.6B``; exact below 1000."""
    if abs(count) < 1000 and float(count).is_integer():
        return str(int(count))
    text, prefix = _scaled(count, 1000, _COUNT, digits)
    return f"{text}{prefix}"


def format_tokens(tokens: int) -> str:
    """Tokens with thousands separated: ``2,048,000``."""
    return f"{tokens:,}"


def format_bytes(size_bytes: float, digits: int = 4) -> str:
    """Formats bytes in IEC: ``53.91 GiB``; whole below 1 KiB."""
    if abs(size_bytes) < 1024:
        return f"{int(size_bytes)} B"
    text, prefix = _scaled(size_bytes, 1024, _IEC, digits)
    return f"{text} {prefix}"


def format_seconds(seconds: float, digits: int = 3) -> str:
    """Formats a duration: ``1.86 s``, ``284 ms``, ``12.0 us``; from two hours on ``3 h 25 min``."""
    if seconds >= 7200:
        minutes = round(seconds / 60)
        if minutes >= 2880:
            return f"{minutes / 1440:,.1f} days"
        return f"{minutes // 60} h {minutes % 60} min"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale * 0.9995:
            value = seconds / scale
            before = len(str(int(value)))
            return f"{value:.{max(digits - before, 0)}f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def format_seconds_range(least: float, most: float) -> str:
    """Formats a range of durations: ``1.2 to 6.4 s``, ``0.81 s to 2 h 5 min``."""
    low, high = format_seconds(least, 2), format_seconds(most, 2)
    number, _, unit = low.rpartition(" ")
    return f"{number} to {high}" if high.endswith(f" {unit}") else f"{low} to {high}"


def format_ratio(ratio: float) -> str:
    """Formats a ratio: ``x295.07``, three significant digits below one."""
    return f"x{ratio:,.2f}" if ratio >= 1 else f"x{ratio:.3f}"


def _percent(share: Share, digits: int, *, signed: bool = False) -> str:
    """Writes a share in percent, rounded half up as people do by hand: 0.9755 is ``97.6``.

    The float nearest to 0.9755 is a little less than it, so that rounding what is stored would give
    97.5, and 96.6 for 0.9655. What it stands for is rounded: its first 12 decimals.
    """
    if not math.isfinite(share):
        return f"{float(share):{'+' if signed else ''}}"
    exact = share if isinstance(share, Fraction) else Fraction(repr(round(float(share), 12)))
    whole = math.floor(abs(exact) * 100 * 10**digits + Fraction(1, 2))
    before, after = divmod(whole, 10**digits)
    sign = "-" if exact < 0 else "+" if signed else ""
    return f"{sign}{before}.{after:0{digits}d}" if digits else f"{sign}{before}"


def format_percent(share: Share, *, signed: bool = False, digits: int | None = None) -> str:
    """Formats a share: ``45 %``, one digit below 10; with its sign where it is an error."""
    if digits is None:
        digits = 0 if len(_percent(share, 1).lstrip("-")) > len("9.9") else 1
    return f"{_percent(share, digits, signed=signed)} %"


def format_accuracy(share: Share) -> str:
    """Formats a share of right answers, as papers print it: ``90.56 %``."""
    return f"{_percent(share, 2)} %"


def format_interval(low: Share, high: Share) -> str:
    """Formats an interval of shares: ``88.59 to 92.22``, in percent."""
    return f"{_percent(low, 2)} to {_percent(high, 2)}"


def format_score(share: Share, digits: int = 1) -> str:
    """Formats a share of right answers where a heading names its unit: ``90.6``, in percent."""
    return _percent(share, digits)


def format_score_interval(low: Share, high: Share) -> str:
    """Formats the interval of such a share: ``88.6 to 92.2``, in percent."""
    return f"{format_score(low)} to {format_score(high)}"


def format_dead_band(dead_band: float) -> str:
    """Returns the suffix to a model's name: ``, dead band 0.3``; nothing where there is none."""
    return f", dead band {dead_band:g}" if dead_band else ""


def format_memory_tokens(memory_tokens: int, sink_tokens: int = 0) -> str:
    """Names the memory of a model: ``10 memory tokens (1 sink)``."""
    words = f"{format_tokens(memory_tokens)} memory tokens"
    return f"{words} ({format_tokens(sink_tokens)} sink)" if sink_tokens else words


def format_start_segments(start_segments: int) -> str:
    """Returns the suffix to a training's name: ``, from 2 segments``; nothing for the usual 1."""
    return f", from {format_tokens(start_segments)} segments" if start_segments > 1 else ""


def format_repeats(share: float, until: float = 1.0) -> str:
    """Returns the suffix to a training's name: ``, 50 % repeated until 70 %`` of its steps; nothing
    where no text repeats."""
    if not share:
        return ""
    end = f" until {100 * until:.3g} %" if until < 1 else ""
    return f", {100 * share:.3g} % repeated{end}"


def format_compiled(compiled: bool | None) -> str:
    """Returns the suffix to a way of reading: ``, compiled``; nothing where it was not, or where
    that was not noted."""
    return ", compiled" if compiled else ""


def format_change(change: float) -> str:
    """Formats a change of a number of the memory: ``0.141``."""
    return f"{change:.3f}"


def format_margin(margin: float) -> str:
    """Formats a difference of logits: ``6.4``, ``-0.1``."""
    return f"{margin:z.1f}"


def format_nats(nats: float) -> str:
    """Formats a loss where a heading names its unit: ``2.198``."""
    return f"{nats:.3f}"


def format_loss(nats: float) -> str:
    """Formats a loss with its unit, of a token or of an answer: ``2.198 nats``."""
    return f"{format_nats(nats)} nats"


def format_perplexity(perplexity: float) -> str:
    """Formats a perplexity as papers print it: ``6.39``."""
    return f"{perplexity:,.2f}"


def format_bits_per_byte(bits: float, digits: int = 4, *, signed: bool = False) -> str:
    """Formats bits per byte of text: ``0.7980``; where they are a difference: ``-0.0521``."""
    return f"{bits:{'+' if signed else ''}.{digits}f}"


def format_difference(bits: float, low: float, high: float) -> str:
    """Formats a difference of losses with its interval: ``-0.0521 (-0.0603 to -0.0439)``."""
    mean, *bounds = (format_bits_per_byte(one, signed=True) for one in (bits, low, high))
    return f"{mean} ({' to '.join(bounds)})"


def format_thousandths(bits: float, low: float, high: float) -> str:
    """Formats a difference of losses and half its interval, in thousandths: ``-52.1 ± 8.2``."""
    return f"{1000 * bits:+.1f} ± {1000 * (high - low) / 2:.1f}"


def format_rate(flops_per_second: float, digits: int = 3) -> str:
    """Formats FLOP/s in SI: ``746 TFLOP/s``."""
    return f"{format_flops(flops_per_second, digits)}/s"


def parse_size(text: str, name: str = "tokens", most: int = MOST_TOKENS) -> int:
    """Parses ``512``, ``32k``, ``2M`` (powers of ten) or ``32Ki`` (powers of two).

    Raises:
        BadInput: not such a number, not whole, not above zero, or above ``most``.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise BadInput(f"{name} {text!r}: expected a whole number such as 512, 32k, 2M or 32Ki")
    base: int = 1024 if match[3] else 1000
    # Multiplied as integers, so that 1.5k is exactly 1500 whatever the float says.
    whole, _, fraction = match[1].partition(".")
    scale = math.prod([base] * _POWER[match[2]])
    value, rest = divmod(int(whole + fraction) * scale, math.prod([10] * len(fraction)))
    if rest:
        raise BadInput(f"{name} {text!r}: not a whole number")
    if value < 1:
        raise BadInput(f"{name} {text!r}: expected 1 or more")
    if value > most:
        raise BadInput(f"{name} {text!r}: expected {most:,} or less")
    return value


def parse_sizes(text: str, name: str = "tokens", most: int = MOST_TOKENS) -> list[int]:
    """Parses a comma-separated list of sizes, in the order given, each once.

    ``512..2M`` is every doubling of the first up to the second, and the second.
    """
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise BadInput(f"{name} {text!r}: expected one or more numbers such as 512,32k,2M")
    return list(dict.fromkeys(size for part in parts for size in _sizes(part, name, most)))


def _sizes(text: str, name: str, most: int) -> list[int]:
    """One size, or the doublings of a range."""
    first, dots, last = text.partition("..")
    if not dots:
        return [parse_size(text, name, most)]
    low, high = parse_size(first, name, most), parse_size(last, name, most)
    if low > high:
        raise BadInput(f"{name} {text.strip()!r}: expected the smaller length first")
    return [*(low * 2**power for power in range((high // low).bit_length())), high]


def parse_bytes(text: str, name: str = "memory") -> int:
    """Parses ``80GiB`` or ``80GB`` as bytes.

    Raises:
        BadInput: no such number, or no unit (which of the two is meant matters).
    """
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{name} {text!r}: expected a size with its unit such as 80GiB or 512MiB")
    size = float(match[1]) * (1024 if match[3] else 1000) ** _POWER[match[2]]
    if not 1 <= size <= MOST_COUNT:
        raise BadInput(f"{name} {text!r}: expected more than 0 bytes, and no more than 900000TiB")
    return int(size)


def doubling_tokens(first: int = 512, last: int = 2_048_000) -> list[int]:
    """Returns Figure 2's lengths: ``512 * 2**k`` to 32,768, then ``64,000 * 2**k`` to ``last``."""
    short = (first * 2**k for k in range(7))
    long = (64_000 * 2**k for k in range(6))
    return [tokens for tokens in (*short, *long) if tokens <= last]


def require_positive(name: str, value: int, most: int = MOST_COUNT) -> None:
    """Raises ``BadInput`` unless ``value`` is a whole number above zero, and ``most`` or less."""
    if type(value) is int and 0 < value <= most:  # a search asks a million times
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadInput(f"{name} {value!r}: expected a whole number of 1 or more")
    if value > most:
        raise BadInput(f"{name} {value!r}: expected {most:,} or less")


def require_not_negative(name: str, value: float) -> None:
    """Raises ``BadInput`` unless ``value`` is a finite number of 0 or more."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise BadInput(f"{name} {value!r}: expected a number of 0 or more")


def require_one_of(name: str, value: str, accepted: Iterable[str]) -> None:
    """Raises ``BadInput`` that lists the accepted values unless ``value`` is one of them."""
    if not isinstance(accepted, tuple):
        accepted = list(accepted)
    if value not in accepted:
        raise BadInput(f"{name} {value!r}: expected one of {', '.join(accepted)}")
