"""Links from collectives by size: known constants are found again, impossible ones refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.time.constants import TimeConstants
from rmtscale.costs.time.constants_file import constants_text, known_constants, read_constants
from rmtscale.costs.time.link_fit import fit_links
from rmtscale.costs.time.measured import MeasuredCollective, from_line, to_line
from rmtscale.errors import BadInput
from rmtscale.specs.devices import find_device
from rmtscale.specs.link_speed import ALL_REDUCE, GATHER, KINDS, SEND, LinkSpeed
from rmtscale.specs.spread import Spread

H200 = find_device("h200")
SIZES = tuple(4**power for power in range(5, 16))


def measured(
    kind: str, ranks: int, latency: float, bandwidth: float, noise: float = 0.0
) -> list[MeasuredCollective]:
    """Calls as they would be; one in three is slower, and medians are a tenth above minima."""
    sent = {ALL_REDUCE: 2 * (ranks - 1) / ranks, SEND: 1.0}.get(kind, (ranks - 1) / ranks)
    found = []
    for number, size in enumerate(SIZES):
        seconds = (latency + sent * size / bandwidth) * (1 + noise * (number % 3 == 1))
        found.append(MeasuredCollective(kind, ranks, size, seconds, 1.1 * seconds, 2e-5))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_known_constants_are_found(kind: str) -> None:
    (speed,) = fit_links(measured(kind, 4, 17e-6, 3.3e11))
    assert (speed.kind, speed.ranks) == (kind, 4)
    assert speed.latency.value == pytest.approx(17e-6, rel=0.01)
    assert speed.bandwidth.value == pytest.approx(3.3e11, rel=0.01)
    assert speed.latency.high == pytest.approx(1.1 * speed.latency.value, rel=0.02)
    assert speed.bandwidth.low == pytest.approx(speed.bandwidth.value / 1.1, rel=0.02)


def test_slow_sizes_move_the_spread_and_not_the_constant() -> None:
    (speed,) = fit_links(measured(ALL_REDUCE, 2, 17e-6, 3.3e11, noise=0.3))
    assert speed.latency.value == pytest.approx(17e-6, rel=0.05)
    assert speed.bandwidth.value == pytest.approx(3.3e11, rel=0.05)
    assert speed.latency.high > 1.35 * speed.latency.value
    assert speed.bandwidth.low < speed.bandwidth.value / 1.35


def test_a_line_and_a_file_hold_them() -> None:
    found = [*measured(ALL_REDUCE, 2, 9e-6, 3e11), *measured(GATHER, 8, 2e-5, 3.4e11)]
    assert [from_line(to_line(one)) for one in found] == found
    constants = replace(known_constants(H200), links=fit_links(found))
    again = read_constants(constants_text(constants), "x.json", H200)
    assert [(one.kind, one.ranks) for one in again.links] == [(ALL_REDUCE, 2), (GATHER, 8)]
    for one, other in zip(again.links, constants.links, strict=True):
        assert one.latency == pytest.approx(other.latency, rel=1e-4)
        assert one.bandwidth == pytest.approx(other.bandwidth, rel=1e-4)


def with_link(**changed: object) -> TimeConstants:
    speed = LinkSpeed(ALL_REDUCE, 2, Spread(1e-5, 9e-6, 2e-5), Spread(3e11, 2e11, 4e11))
    return replace(known_constants(H200), links=(speed._replace(**changed),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bandwidth": Spread(9e11, 8e11, 1e12)}, "bandwidth' 9e+11: expected between 4.5e+09"),
        ({"bandwidth": Spread(1e9, 1e9, 1e9)}, "expected between 4.5e+09 and 4.95e+11 B/s"),
        ({"latency": Spread(1e-8, 1e-8, 1e-8)}, "latency' 1e-08: expected between 1e-06"),
        ({"latency": Spread(1e-5, 2e-5, 3e-5)}, "expected between its ends 2e-05 and 3e-05"),
        ({"latency": Spread(float("nan"), 1, 1)}, "latency' nan"),
        ({"ranks": 1}, "all_reduce of 1 GPUs: expected 2 or more"),
        ({"kind": "broadcast"}, "kind of collective 'broadcast': expected one of"),
    ],
)
def test_what_no_link_has_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        with_link(**changed)
    assert said in str(caught.value)


def test_too_few_sizes() -> None:
    with pytest.raises(BadInput, match="all_reduce of 2 GPUs: expected 3 sizes"):
        fit_links(measured(ALL_REDUCE, 2, 9e-6, 3e11)[:2])
