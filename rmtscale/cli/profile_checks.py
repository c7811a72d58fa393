"""Requirements of ``profile`` before it measures: libraries, the GPU, a file of its own."""

from __future__ import annotations

import importlib.util

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.processes import PYTHON, ask
from rmtscale.records.environment import host_environment
from rmtscale.records.nvml import NoGpu, open_gpu
from rmtscale.records.store import RecordStore

_NEEDED = ("torch", "transformers", "psutil")
_LOADING_SECONDS = 120.0


def require_libraries() -> None:
    """Refuses to measure without the libraries that models need.

    Raises:
        MissingDependency: names the first that is not there.
    """
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingDependency(f"profile needs {name}: pip install 'rmtscale[measure]'")


def require_device(device: str) -> None:
    """Refuses a GPU that is not there: it would be a file full of crashes.

    Raises:
        BadInput: why there is none.
    """
    if device == "cpu":
        return
    try:
        open_gpu()
    except NoGpu as error:
        code = (
            "import sys; from rmtscale.processes import follow_parent; follow_parent(); "
            "import torch; sys.exit(not torch.cuda.is_available())"
        )
        if ask([PYTHON, "-c", code], _LOADING_SECONDS) is None:
            raise BadInput(f"device 'cuda': {error}; expected --device cpu here") from error


def require_own_records(store: RecordStore, device: str) -> None:
    """Refuses a file of other records or of another machine: two would be taken for one.

    Raises:
        BadInput: what the file holds.
    """
    reading = store.read()
    if reading.damaged_lines and not reading.records:
        raise BadInput(
            f"output {str(store.path)!r}: is there and holds no records, expected --force to "
            "overwrite"
        )
    here = host_environment().processor
    if device == "cuda":
        try:
            here = open_gpu().name
        except NoGpu:  # a GPU the driver's library does not know: nothing to compare
            return
    for record in reading.records:
        there = record.measured.environment
        name = there.gpu if device == "cuda" else there.processor
        if record.point.device == device and name not in (None, here):
            raise BadInput(
                f"output {str(store.path)!r}: holds records of {name}, expected another file for "
                f"{here}"
            )
