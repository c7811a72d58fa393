"""``rmtscale app``: estimates as a local page with sliders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import write_note, write_text
from rmtscale.errors import BadInput
from rmtscale.files import require_writable, write_all


def command(
    port: Annotated[int, typer.Option(help="Where the page is, on this machine only.")] = 8765,
    export: Annotated[
        Path | None,
        typer.Option(help="Write a page that holds its answers to this file instead."),
    ] = None,
    models: Annotated[
        str, typer.Option(help="Of the exported page: presets.")
    ] = "llama-3.2-1b,llama-3-8b,qwen3-8b,opt-6.7b",
    devices: Annotated[
        str, typer.Option(help="Of the exported page: GPUs.")
    ] = "h100,a100-80gb,rtx-4090",
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """A page to play with: model, card, GPUs, length, segment and precision; no network.

    Example: rmtscale app --port 8080
    """
    if export is None:
        refuse_unread("with --export", "models", "devices", "force")
    else:
        refuse_unread("without --export", "port")

        from rmtscale.app.pages import few_choices, static_page

        require_writable([export], force=force)
        page = static_page(few_choices(_names(models, "models"), _names(devices, "devices")))
        write_all(export.parent, {export.name: page}, force=force)
        write_text(str(export))
        return
    if not 1 <= port <= 65535:
        raise BadInput(f"port {port}: expected 1 to 65535")
    from rmtscale.app.server import HOST, serve

    write_note(f"http://{HOST}:{port} (Ctrl-C ends it)")
    serve(port)


def _names(text: str, option: str) -> list[str]:
    """The names of a list.

    Raises:
        BadInput: it is empty, or names what is not known.
    """
    from rmtscale.app.answers import preset
    from rmtscale.specs.devices import find_device

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise BadInput(f"{option} {text!r}: expected a list of names")
    if option == "models":
        for name in names:
            preset(name)
        return names
    return [find_device(name).name for name in names]
