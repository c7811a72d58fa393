"""``python -m rmtscale``."""

from rmtscale.cli.main import main

main()
