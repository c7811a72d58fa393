"""``python -m rmtscale.profiler.child``: measures one point in a process of its own.

Reads one JSON object ``{"point": ..., "protocol": ..., "sample": true}`` from standard input, with
``"place"`` where several processes share the point, and writes lines of JSON to standard output:
``{"stage": "build"}`` as each stage begins, at last ``{"measured": ...}``. Whatever libraries print
goes to standard error. It does not outlive the process that started it. With ``--load`` it loads
the libraries first and says ``{"stage": "loaded"}``; no GPU is touched before the request is there.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rmtscale.processes import follow_parent
from rmtscale.profiler.ranks import Place
from rmtscale.records.mapping import from_mapping, to_mapping
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol

LOAD, LOADED = "--load", "loaded"


def main() -> None:
    """Reads the request, measures, answers."""
    follow_parent()
    # Standard output is for answers only; what others print there goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(mapping: dict[str, Any]) -> None:
        answers.write(json.dumps(mapping, allow_nan=False) + "\n")
        answers.flush()

    from rmtscale.profiler.measure import measure

    if LOAD in sys.argv[1:]:
        import transformers  # noqa: F401

        import rmtscale.profiler.subject
        import rmtscale.rmt  # noqa: F401

        say({"stage": LOADED})
    request = json.load(sys.stdin)
    measured = measure(
        from_mapping(Point, request["point"]),
        from_mapping(Protocol, request["protocol"]),
        lambda stage: say({"stage": stage}),
        sample=request["sample"],
        place=Place(**request["place"]) if request.get("place") else None,
    )
    say({"measured": to_mapping(measured)})
    # Nothing is left to do, and tearing down a CUDA context takes a second.
    os._exit(0)


if __name__ == "__main__":
    main()
