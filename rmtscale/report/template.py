"""Fills in the templates of pages; all have the same head, which lies beside the report's."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

_SHARED = "rmtscale.report"


def render(package: str, name: str, **values: Any) -> str:
    """Returns a page; all that comes from outside is escaped.

    Args:
        package: its ``templates`` folder holds the template.
        name: of the template, which may include ``head.html``: ``title`` and ``asks_server``.
        values: what it is filled in with; one that is missing is an error.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(wanted: str) -> str | None:
        for place in (package, _SHARED):
            path = files(place) / "templates" / wanted
            if path.is_file():
                return path.read_text(encoding="utf-8")
        return None

    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)
