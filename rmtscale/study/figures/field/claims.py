"""The whole field on one chart: the designs that the paper argues against in words. Analytic.

One backbone of each kind, a decoder and an encoder, and every method that it can have. Claims of
the paper that need no GPU: full attention is quadratic, RMT linear with a state that does not
grow, and what it is put around may be pretrained.
"""

from __future__ import annotations

import math

from rmtscale.costs.comparison import Comparison
from rmtscale.report.claims import Claim, within


def check_claims(comparison: Comparison) -> list[Claim]:
    """Checks how full attention and RMT grow between the two greatest lengths."""
    last = comparison.tokens[-2:]

    def exponent(name: str, quantity: str) -> float:
        costs = [comparison.cost(name, tokens, quantity) for tokens in last]
        return math.log(costs[1] / costs[0]) / math.log(last[1] / last[0])

    longest = max(
        (method for method in comparison.methods if method.pretrained and method.reported),
        key=lambda method: method.reported.tokens if method.reported else 0,
    )
    recurrent = longest.name in ("rmt", "armt")
    return [
        within("full attention: FLOPs grow with exponent", 2, exponent("full", "flops"), 0.02),
        within("RMT: FLOPs grow with exponent", 1, exponent("rmt", "flops"), 0.001),
        within("RMT: state grows with exponent", 0, exponent("rmt", "state_bytes"), 0),
        Claim(
            "longest reported input on pretrained weights",
            "RMT's",
            longest.title,
            "pass" if recurrent else "fail",
        ),
    ]
