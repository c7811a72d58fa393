"""The page to play with: the same answers as the command, from this machine only, and offline."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rmtscale import api
from rmtscale.app.answers import Asked, reply
from rmtscale.app.pages import answered, every_choice, few_choices, live_page, static_page
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import to_config
from rmtscale.units import format_bytes
from tests.command_line import Command

ASKED = {
    "model": "gpt2",
    "device": "h100",
    "gpus": "1",
    "tokens": "16k",
    "segment_size": "auto",
    "precision": "bf16",
    "mode": "train",
}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


@pytest.mark.parametrize("mode", ["train", "prefill"])
def test_it_says_what_the_command_says(mode: str) -> None:
    found = reply(Asked.read(ASKED | {"mode": mode}))
    command = api.estimate("gpt2", "h100", "16k", mode=mode)
    assert found["verdict"] == command.verdict
    _, rows = command.cells()
    shown = [
        [way["title"], way["memory"], "yes" if way["fits"] else "no", way["time"], way["flops"]]
        for way in found["ways"]
    ]
    assert shown == rows
    for way in found["ways"]:
        assert sum(term["bytes"] for term in way["terms"]) == way["bytes"]


def test_many_gpus_are_the_layouts_of_the_command(rmtscale: Command) -> None:
    values = ASKED | {"model": "llama-3-8b", "gpus": "8", "segment_size": "1024"}
    found = reply(Asked.read(values | {"precision": "master-bf16"}))
    done = rmtscale(
        *"estimate -m llama-3-8b -d h100 --tokens 16k --mode train --gpus 8".split(),
        *"--segment-size 1024 --precision master-bf16 --format json".split(),
    )
    rows = json.loads(done.out)["rows"]
    best = {row["method"]: row for row in reversed(rows)}  # the first of each
    for method, way in zip(("full", "rmt"), found["ways"], strict=True):
        assert way["title"].endswith(best[method]["layout"])
        assert way["bytes"] == best[method]["peak_bytes_per_gpu"]
    assert "faster" in found["verdict"] or "cannot be told" in found["verdict"]


def test_a_dropped_config_is_the_model_it_describes() -> None:
    config = json.dumps(to_config(PRESETS["gpt2"]))
    dropped = reply(Asked.read(ASKED | {"config": config, "model": "opt-175b"}))
    plain = reply(Asked.read(ASKED))
    assert dropped["ways"] == plain["ways"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "no-such"}, "model 'no-such'"),
        ({"model": "/etc/passwd"}, "model '/etc/passwd'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"mode": "dance"}, "mode 'dance'"),
        ({"gpus": "0"}, "gpus"),
        ({"gpus": "99999"}, "gpus 99999: expected 1 to 4096"),
        ({"tokens": "many"}, "tokens 'many'"),
        ({"segment_size": "3"}, "segment size 3"),
        ({"precision": "fp7"}, "precision 'fp7'"),
        ({"config": "{"}, "config.json"),
        ({"config": "[]"}, "config.json"),
    ],
)
def test_a_bad_value_is_one_line(values: dict[str, str], words: str) -> None:
    found = answered(ASKED | values)
    assert set(found) == {"error"}
    assert words in found["error"]
    assert "\n" not in found["error"]


@pytest.fixture
def client() -> Any:
    pytest.importorskip("flask")
    from rmtscale.app.server import make_app

    return make_app().test_client()


def test_the_server_answers_and_refuses(client: Any) -> None:
    page = client.get("/", headers={"Host": "127.0.0.1:8765"})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.text == live_page()
    local = {"headers": {"Host": "localhost:8765"}}
    good = client.post("/answer", json=ASKED, **local)
    assert (good.status_code, good.json) == (200, answered(ASKED))
    bad = client.post("/answer", json=ASKED | {"tokens": "many"}, **local)
    assert (bad.status_code, set(bad.json)) == (400, {"error"})
    for body in ("[1]", "no json"):
        refused = client.post("/answer", data=body, content_type="application/json", **local)
        assert refused.status_code == 400
    assert client.post("/answer", data=b"x" * (2**20 + 1), **local).status_code in (400, 413)
    elsewhere = client.get("/", headers={"Host": "evil.example"})
    assert elsewhere.status_code == 400


def test_every_choice_of_the_page_is_known() -> None:
    choices = every_choice().lists()
    for name, first in every_choice().first.items():
        assert first in choices[name]
    for name in ("device", "precision", "segment_size", "gpus"):
        for value in choices[name][::3]:
            found = answered(ASKED | {"tokens": "4k", "model": "llama-3-8b", name: value})
            # A card may lack a precision: that is said, and nothing else is wrong.
            assert "verdict" in found or "has no peak" in found["error"], (name, value, found)


def test_the_exported_page_holds_its_answers(rmtscale: Command, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    words = ["app", "--export", str(out), "--models", "gpt2", "--devices", "t4,h100"]
    assert rmtscale(*words).code == 0
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    data = json.loads(re.search(r"const \{ answers, lists \} = (.*);\n", text)[1])  # type: ignore[index]
    assert len(data["answers"]) == 2 * 2 * len(data["lists"]["tokens"])
    key = "gpt2|h100-sxm|train|16384|1|auto|bf16"
    assert data["answers"][key] == answered(ASKED | {"tokens": "16384"})
    assert "error" in data["answers"]["gpt2|t4|train|16384|1|auto|bf16"]  # it has no bf16
    again = rmtscale(*words)
    assert again.code == 2
    assert "exists" in again.err or "already" in again.err
    assert rmtscale(*words, "--force").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "0"], "port 0: expected 1 to 65535"),
        (["--export", "x.html", "--models", "nothing"], "model 'nothing'"),
        (["--export", "x.html", "--devices", ","], "devices ',': expected a list of names"),
    ],
)
def test_bad_options(
    rmtscale: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = rmtscale("app", *options)
    assert done.code == 2
    assert words in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_refused(rmtscale: Command) -> None:
    import socket

    pytest.importorskip("flask")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = rmtscale("app", "--port", str(port))
    assert done.code == 2
    assert f"port {port}: in use" in done.err


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (BROWSER and DRIVER):
        pytest.skip("no chromium with its driver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("flask")
    from werkzeug.serving import make_server

    from rmtscale.app.server import HOST, make_app

    server = make_server(HOST, 0, make_app(), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{HOST}:{server.server_port}/"
    server.shutdown()


def until(browser: Any, script: str) -> Any:
    """Waits until a script returns something."""
    for _ in range(100):
        found = browser.execute_script(script)
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(script)


FITS = "return /fit/i.test(document.getElementById('verdict').textContent) && "
VERDICT = f"{FITS}document.getElementById('verdict').textContent"


def test_in_a_browser(browser: Any, address: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    exported = tmp_path / "page.html"
    exported.write_text(static_page(few_choices(["gpt2"], ["h100"])), encoding="utf-8")
    for url in (address, exported.as_uri()):
        browser.get(url)
        first = until(browser, VERDICT)
        slider = browser.find_element(By.NAME, "tokens")
        for _ in range(7):
            slider.send_keys(Keys.ARROW_RIGHT)
        now = "document.getElementById('verdict').textContent"
        until(browser, f"return {now} !== {first!r} && {now}")
        assert "2,097,152" in slider.get_attribute("aria-valuetext")
        shown = browser.find_element(By.NAME, "gpus").is_displayed()
        assert shown is (url == address)  # a control of one value is no control
        for width in (375, 1280):
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(13, 17, 23)"
        assert browser.get_log("browser") == []


def test_a_config_is_taken_in_a_browser(browser: Any, address: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    config = tmp_path / "config.json"
    config.write_text(json.dumps(to_config(PRESETS["gpt2"])), encoding="utf-8")
    browser.get(address)
    until(browser, VERDICT)
    browser.find_element(By.ID, "config").send_keys(str(config))
    expected = reply(Asked.read(ASKED | {"tokens": "32768"}))["ways"][0]["bytes"]
    shown = "document.querySelector('#ways td')?.textContent"
    memory = format_bytes(expected)
    assert until(browser, f"return {shown} === {memory!r} && {shown}") == memory
