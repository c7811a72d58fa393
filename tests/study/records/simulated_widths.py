"""Which rule finds a good width from few stories: a simulation that was run to choose it.

``python -m tests.study.records.simulated_widths --stories 100``.

Of each story three things are drawn: the widest band that still writes its fact, the drift that it
bears, and whether it is lost anyway. Drift grows with the segments and falls with the width. So
widths are paired as they are in reality: one that loses a story to drift hardly keeps those that a
wider one loses. What a rule gives away is the accuracy of the best width less that of its own, in
200,000 stories at the longer length that was read, and at ones that nobody read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rmtscale.study.records.chosen_width import Chosen, choose_width

WIDTHS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
READ = (64, 256)
"""Segments of the stories that a rule has."""
LENGTHS = (256, 1700, 17_000)
"""Segments at which its width is held against the best one; a million tokens have 1,700."""
MANY = 200_000


class Kind(NamedTuple):
    """A task whose facts and whose memory are of one kind."""

    widest: float
    """Median of the widest band that writes a fact."""
    spread: float
    drift: float
    """In 64 segments without a band, as a multiple of what the median story bears."""
    grows: float
    """Power of the segments."""
    scale: float
    """A band wider by so much lets through 1 / e of the drift."""
    borne: float = 0.6
    lost: float = 0.02
    chance: float = 0.02


KINDS = {
    "wide plateau": Kind(1.6, 0.25, 0.8, 0.5, 0.08, 0.5, 0.005, 0.003),
    "slow decay": Kind(0.9, 0.35, 0.7, 0.35, 0.2, 0.8, 0.02, 0.03),
    "facts lost early": Kind(0.6, 0.35, 0.8, 0.35, 0.15, 0.8, 0.02, 0.03),
    "plateau": Kind(1.0, 0.2, 0.8, 0.4, 0.15, 0.5, 0.0, 0.01),
    "peak": Kind(0.5, 0.12, 1.0, 0.5, 0.15, 0.4),
    "peak at a cliff": Kind(0.56, 0.04, 2.0, 0.25, 0.25),
    "no band is needed": Kind(1.0, 0.3, 0.02, 0.1, 0.3, 0.5),
    "a band hurts": Kind(0.35, 0.4, 0.05, 0.1, 0.3, 0.5),
}
Right = npt.NDArray[np.bool_]
Rule = Callable[[Chosen], float]


def stories(rng: np.random.Generator, kind: Kind, count: int, segments: int) -> Right:
    """Draws which stories are right, (count, widths)."""
    width = np.array(WIDTHS)
    widest = kind.widest * np.exp(kind.spread * rng.standard_normal((count, 1)))
    borne = np.exp(kind.borne * rng.standard_normal((count, 1)))
    drift = kind.drift * (segments / 64) ** kind.grows * np.exp(-width / kind.scale)
    right = (width < widest) & (drift < borne) & (rng.random((count, 1)) > kind.lost)
    guessed = rng.random(right.shape) < kind.chance
    found: Right = np.where(guessed, rng.random(right.shape) < 1 / 6, right)
    return found


def _within(errors: float, side: int) -> Rule:
    """The narrowest or the widest of those within some standard errors of the best."""

    def rule(chosen: Chosen) -> float:
        near = [one.width for one in chosen.tried if one.behind <= errors * one.error + 1e-12]
        return min(near) if side < 0 else max(near)

    return rule


RULES: dict[str, Rule] = {
    "ours": lambda chosen: chosen.width,
    "the best": lambda chosen: max(chosen.tried, key=lambda one: (one.accuracy, -one.width)).width,
    "the smoothest": lambda chosen: max(chosen.tried, key=lambda one: one.smoothed).width,
    "the narrowest within 95 %": _within(1.96, -1),
    "the narrowest within one error": _within(1.0, -1),
    "the widest within one error": _within(1.0, 1),
    "always 0.3": lambda _: 0.3,
}


def given_away(count: int, trials: int, seed: int = 0) -> dict[str, list[float]]:
    """Returns what each rule gives away, in percent: at ``LENGTHS`` in the mean of all kinds, and
    at the first of them of the kind where it gives away most."""
    rng = np.random.default_rng(seed)
    lost: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in RULES}
    for kind in KINDS.values():
        shares = np.array([stories(rng, kind, MANY, length).mean(0) for length in LENGTHS])
        behind = 100 * (shares.max(1, keepdims=True) - shares)
        found: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in RULES}
        for _ in range(trials):
            read = {length: stories(rng, kind, count, length).T for length in READ}
            chosen = choose_width(
                {
                    width: {
                        length: (right[at] + np.uint8(48)).tobytes().decode()
                        for length, right in read.items()
                    }
                    for at, width in enumerate(WIDTHS)
                }
            )
            for name, rule in RULES.items():
                found[name].append(behind[:, WIDTHS.index(rule(chosen))])
        for name, each in found.items():
            lost[name].append(np.mean(each, axis=0))
    return {
        name: [*np.mean(each, axis=0).tolist(), max(float(one[0]) for one in each)]
        for name, each in lost.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=100)
    parser.add_argument("--trials", type=int, default=400)
    asked = parser.parse_args()
    rows = [["rule", *(f"{length:,} segments" for length in LENGTHS), "worst kind"]]
    for name, lost in given_away(asked.stories, asked.trials).items():
        rows.append([name, *(f"{each:.2f}" for each in lost)])
    sys.stdout.write("".join(f"{' | '.join(row)}\n" for row in rows))


if __name__ == "__main__":
    main()
