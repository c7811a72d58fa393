"""The ablation: one change after the other is added to the plain training, and stays.

Each on its own would say less: where a burn-in loses an answer can only be replayed with a burn-in,
and a dead band is an evaluation of a model that is there.
"""

from __future__ import annotations

from collections.abc import Mapping

TASKS = ("qa1", "qa2")
LENGTHS = ("0k", "1k", "4k", "16k", "32k", "128k")
PLAIN, LAST_TRAINED, DEAD_BAND = "plain", "fragments", "dead band"
ADDED: Mapping[str, tuple[str, ...]] = {
    PLAIN: (),
    "burn-in": ("burn_in",),
    "replay": ("replay_lost",),
    LAST_TRAINED: ("fact_fragments",),
}
"""Fields of the settings that a change gives the values of the full training, in the order in which
they are added."""
WITHOUT: Mapping[str, object] = {"burn_in": (), "replay_lost": False, "fact_fragments": 0.0}
"""Their values in the plain training."""
CHANGES = (*ADDED, DEAD_BAND)


def values_of(change: str, full: Mapping[str, object]) -> dict[str, object]:
    """Returns the fields that the changes are about, up to one of them.

    Args:
        change: a training of ``ADDED``.
        full: values of the full training.
    """
    values, names = dict(WITHOUT), list(ADDED)
    for name in names[: names.index(change) + 1]:
        values |= {field: full[field] for field in ADDED[name]}
    return values
