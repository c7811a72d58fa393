"""Makes the list of original test stories that nothing is trained on.

``RMTSCALE_DATA=FOLDER python -m tests.study.tasks.held_out`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

import rmtscale.study.tasks.babi as package
from rmtscale.study.tasks.babi.asked import facts_digest
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.babi.original import read_original

PATH = Path(package.__path__[0]) / "held_out.csv"


def made() -> str:
    """The file's content."""
    found = {facts_digest(asked.facts) for qa in QAS for asked in read_original(qa, "test")}
    return "facts_sha256_32\n" + "".join(f"{digest:08x}\n" for digest in sorted(found))


if __name__ == "__main__":
    PATH.write_text(made(), encoding="utf-8")
