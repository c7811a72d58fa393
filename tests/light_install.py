"""Run by an environment that has the light installation only: it predicts and reports.

Not a pytest file: the light environment has no pytest. ``make light`` runs it.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

RECORDS = Path(__file__).parents[1] / "profiles" / "nvidia-h200" / "gpt2-train.jsonl"
RMTSCALE = str(Path(sys.executable).with_name("rmtscale"))


def run(line: str, code: int = 0) -> str:
    """Runs a command, checks its exit code, returns what it printed."""
    done = subprocess.run([RMTSCALE, *line.split()], capture_output=True, text=True)
    if done.returncode != code or "Traceback" in done.stderr:
        raise SystemExit(f"rmtscale {line}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout + done.stderr


def frames() -> None:
    """Estimates and records give frames, and methods take arrays, with this pandas and numpy."""
    import numpy as np

    import rmtscale

    model, work = rmtscale.resolve_model("gpt2"), rmtscale.Workload(tokens=4000, mode="train")
    flops = rmtscale.estimate_flops(model, work)
    if int(flops.to_frame()["amount"].sum()) != flops.total:
        raise SystemExit("to_frame: the amounts do not sum to the total")
    if len(rmtscale.RecordStore(RECORDS).read().to_frame()) < 10:
        raise SystemExit(f"to_frame: expected the points of {RECORDS}")
    lengths = np.array([512, 1024])
    for name in rmtscale.METHODS:
        if "decoder" in rmtscale.METHODS[name].kinds:
            costs = list(rmtscale.estimate_method(model, lengths, name).flops)
            if costs != [rmtscale.estimate_method(model, n, name).flops for n in (512, 1024)]:
                raise SystemExit(f"method {name}: an array gives other numbers than its lengths")


def main() -> None:
    for name in ("torch", "transformers", "pytest"):
        if importlib.util.find_spec(name) is not None:
            raise SystemExit(f"{name} is installed: this is not the light environment")
    expected = {
        "estimate --model llama-3-8b --device h200 --tokens 64k": "Fits: needs",
        "flops --model opt-175b": "x27.43",
        "memory --model gpt2 --tokens 4k --mode train": "full attention",
        "plan --model gpt2 --device a100-80gb": "full attention ends",
        "compare --model opt-1.3b --methods all": "this needs less",
        "generate-cost --model llama-3-8b --device h200": "Full attention fits: ",
        "models": "pythia-12b",
        "devices": "h200",
        "cite": "2304.11062",
        "profile --preset figure-10 --predict-for a100-80gb --dry-run": "will not fit",
    }
    for line, text in expected.items():
        if text not in run(line):
            raise SystemExit(f"rmtscale {line}: does not print {text!r}")
    with tempfile.TemporaryDirectory() as folder:
        run(f"reproduce figure-2 --out {folder}/figure-2")
        run(f"reproduce field --out {folder}/field")
        run(f"report {RECORDS} --out {folder}/report")
        run(f"report {RECORDS} --format csv")
    frames()
    if "pip install 'rmtscale[measure]'" not in run("verify --model gpt2", code=2):
        raise SystemExit("rmtscale verify: does not say what is missing")
    if "pip install 'rmtscale[measure]'" not in run("profile -m gpt2 --tokens 9 -o x", code=2):
        raise SystemExit("rmtscale profile: does not say what is missing")
    hub = run("flops --model some-lab/some-model", code=2)
    if "pip install 'rmtscale[measure]'" not in hub:
        raise SystemExit("rmtscale flops with a hub name: does not say what is missing")
    print(f"light installation: {len(expected) + 7} commands passed")  # noqa: T201


if __name__ == "__main__":
    main()
