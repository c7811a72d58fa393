"""The server of the page: on this machine, for this machine, from nothing outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rmtscale.app.pages import answered, live_page
from rmtscale.errors import BadInput, MissingDependency

if TYPE_CHECKING:
    from flask import Flask

HOST = "127.0.0.1"
MOST_BYTES = 2**20
"""Most bytes of a question; a dropped config has some thousands."""
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)


def make_app() -> Flask:
    """Makes the application: ``/`` is the page, ``/answer`` takes a question and answers it.

    Raises:
        MissingDependency: Flask is not there.
    """
    try:
        from flask import Flask, request
    except ImportError as error:
        raise MissingDependency("app needs Flask: pip install 'rmtscale[app]'") from error
    app = Flask("rmtscale.app", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES

    @app.before_request
    def only_here() -> Any:
        """Refuses a page of somebody else that was pointed to this address by its own name."""
        if request.host.rsplit(":", 1)[0] not in (HOST, "localhost"):
            return {"error": f"host {request.host!r}: expected {HOST} or localhost"}, 400
        return None

    @app.after_request
    def from_nothing_outside(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.get("/")
    def page() -> str:
        return live_page()

    @app.post("/answer")
    def answer() -> Any:
        values = request.get_json(silent=True)
        if not isinstance(values, dict):
            return {"error": "question: expected a JSON object"}, 400
        found = answered(values)
        return found, 400 if "error" in found else 200

    return app


def serve(port: int) -> None:
    """Serves the page until it is interrupted.

    Raises:
        BadInput: the port is taken.
        MissingDependency: Flask is not there.
    """
    app = make_app()
    from werkzeug.serving import make_server

    try:
        server = make_server(HOST, port, app, threaded=True)
    except (OSError, SystemExit) as error:
        raise BadInput(f"port {port}: in use, expected a free one") from error
    with server:
        server.serve_forever()
