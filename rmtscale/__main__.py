"""``rmtscale`` and ``python -m rmtscale``: an interrupt is one line from the first moment on."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def run() -> None:
    """Runs the command line, whose modules take a moment to load."""
    signal.signal(signal.SIGINT, _interrupted)
    from rmtscale.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


def _interrupted(*_: object) -> NoReturn:
    os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    run()
