"""One writer at a time: the second of two, and seven of eight, are refused in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.locks import one_user, sole_user, sole_writer, sole_writer_in
from rmtscale.records.record import Record
from rmtscale.records.store import RecordStore
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.training.loop import train
from rmtscale.study.training.metrics import Interval, MetricsStore, read_metrics
from tests.command_line import Command
from tests.forked import fork
from tests.synthetic.records import figure_10
from tests.tiny_training import tiny_settings, write_background


def write(path: Path, record: Record, pipe: Connection) -> None:
    """Writes as often as it is told to; says that it may, or why it may not."""
    try:
        store = RecordStore(path)
        with store.writing():
            pipe.send("writes")
            while pipe.recv():
                store.append(record)
    except BadInput as error:
        pipe.send(str(error))
        sys.exit(error.exit_code)


def writer(path: Path, record: Record) -> tuple[BaseProcess, Connection]:
    ours, theirs = Pipe()
    return fork(write, path, record, theirs), ours


@pytest.mark.parametrize("count", [2, 8])
def test_of_several_writers_one_writes(
    count: int, record: Callable[..., Record], tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    writers = [writer(path, record()) for _ in range(count)]
    try:
        said = {process.pid: pipe.recv() for process, pipe in writers if pipe.poll(60)}
        (first,) = (one for one in writers if said[one[0].pid] == "writes")
        refusal = (
            f"records {str(path)!r} is in use by process {first[0].pid}: expected it to end first"
        )
        others = [process for process, _ in writers if process is not first[0]]
        assert [said[one.pid] for one in others] == [refusal] * (count - 1)
        assert [ended(one) for one in others] == [2] * (count - 1)
        for more in (True, True, True, False):
            first[1].send(more)
        assert ended(first[0]) == 0
    finally:
        for process, _ in writers:
            process.kill()
            process.join()
    assert len(RecordStore(path).read().records) == 3
    assert [one.name for one in tmp_path.iterdir()] == ["x.jsonl"]


def ended(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def test_the_lock_of_a_killed_writer_holds_nothing(
    record: Callable[..., Record], tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    one, pipe = writer(path, record())
    assert pipe.poll(60)
    assert pipe.recv() == "writes"
    one.kill()
    assert ended(one) == -signal.SIGKILL
    lock = path.with_name(".x.jsonl.lock")
    assert lock.read_text() == str(one.pid)
    lock.write_text("1")  # of another process that lives: it holds nothing either
    with RecordStore(path).writing():
        assert lock.read_text() == str(os.getpid())
    assert not lock.exists()


def test_the_same_process_is_another_writer_too(tmp_path: Path) -> None:
    with sole_writer_in(tmp_path / "a" / "b", "folder 'b'"):
        words = rf"^folder 'b' is in use by process {os.getpid()}: "
        with (
            pytest.raises(BadInput, match=words),
            sole_writer_in(tmp_path / "a" / "b", "folder 'b'"),
        ):
            pass
        with sole_writer_in(tmp_path / "a", "folder 'a'"):
            pass
    assert list(tmp_path.iterdir()) == [], "what was made for a lock and stayed empty is gone"


CHILD = """
import sys
from pathlib import Path
from rmtscale.locks import sole_writer
with sole_writer(Path(sys.argv[1]), "it"):
    print("writes")
"""


def test_a_child_writes_in_the_name_of_its_parent(tmp_path: Path) -> None:
    def child() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path / "x")]
        return subprocess.run(command, capture_output=True, text=True)

    with sole_writer(tmp_path / "x", "it"):
        assert child().stdout == "writes\n"
        held = os.environ.pop("RMTSCALE_HELD")
        assert f"it is in use by process {os.getpid()}: " in child().stderr
        os.environ["RMTSCALE_HELD"] = held.replace(str(os.getpid()), "1")
        assert child().returncode == 1


def refused(rmtscale: Command, line: str, what: str) -> None:
    done = rmtscale(*line.split())
    expected = f"error: {what} is in use by process {os.getpid()}: expected it to end first\n"
    assert (done.code, done.out, done.err.splitlines()[-1:]) == (2, "", [expected.strip()])


def test_every_command_that_writes_is_refused(rmtscale: Command, tmp_path: Path) -> None:
    """While another process (this one) holds what it would write to or measure on."""
    background = write_background(tmp_path / "text", 1, 60)
    run, file, runs = tmp_path / "run", tmp_path / "x.jsonl", tmp_path / "runs"
    settings = tiny_settings(background, segments=1, steps=1, burn_in=(), start_tokens=())
    run.mkdir()
    (run / "settings.json").write_text(settings.to_json())
    (run / "metrics.jsonl").write_text("mine")
    training = f"train --out {run} --device cpu"
    profile = f"profile --model pythia-14m --methods full --tokens 64 --device cpu --out {file}"
    reproduce = f"reproduce figure-11 --quick --runs {runs} --out {tmp_path / 'out'} --device cpu"
    with sole_writer_in(run, "x"):
        refused(rmtscale, training, f"folder {str(run)!r}")
        refused(rmtscale, f"{training} --force", f"folder {str(run)!r}")
    assert (run / "metrics.jsonl").read_text() == "mine"
    (run / "metrics.jsonl").unlink()
    with sole_writer(file, "x"):
        refused(rmtscale, profile, f"records {str(file)!r}")
    with one_user("cpu"):
        refused(rmtscale, profile, "device 'cpu'")
    with sole_user("cpu"):
        for line in (profile, training, f"{training} --force", reproduce):
            refused(rmtscale, line, "device 'cpu'")
    with sole_writer_in(runs, "x"):
        refused(rmtscale, reproduce, f"folder {str(runs)!r}")
    with one_user("cpu"):  # trainings may run side by side
        assert rmtscale(*training.split()).code == 0
    more = f"--samples 2 --device cpu --background {background}"
    evaluate = f"evaluate {run / 'best'} --segments 1 {more}"
    with sole_user("cpu"):
        refused(rmtscale, evaluate, "device 'cpu'")
        refused(rmtscale, f"dead-band {run / 'best'} --segments 2 {more}", "device 'cpu'")
    with EvaluationStore(run / "best" / "evaluation.jsonl").writing():
        name = f"records {str(run / 'best' / 'evaluation.jsonl')!r}"
        refused(rmtscale, evaluate, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "text"]


def work_until_killed(ready: Path) -> None:
    with one_user("cpu"):
        ready.write_text(str(os.getpid()))
        time.sleep(60)


def test_what_works_on_a_device_is_found_by_what_measures(tmp_path: Path) -> None:
    """Several may work; one that is killed holds nothing, and leaves no lock for good."""
    ready = tmp_path / "ready"
    process = fork(work_until_killed, ready)
    try:
        with one_user("cpu"):
            while not (ready.is_file() and ready.read_text()):
                time.sleep(0.01)
        with (
            pytest.raises(BadInput, match=f"^device 'cpu' is in use by process {process.pid}: "),
            sole_user("cpu"),
        ):
            pass
    finally:
        process.kill()
        process.join()
    locks = Path(os.environ["RMTSCALE_LOCKS"])
    assert [path.name.count(str(process.pid)) for path in locks.glob("*cpu*")] == [1]
    with sole_user("cpu"):
        pass
    assert list(locks.glob("*cpu*")) == []


def test_each_gpu_is_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-6f")
    with one_user("cuda", 1), sole_user("cuda"), sole_user("cpu"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-6f")
        with pytest.raises(BadInput, match=r"^device 'cuda' is in use"), sole_user("cuda"):
            pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, records, and outputs that cannot be."""
    here = tmp_path_factory.mktemp("here")
    settings = tiny_settings(
        write_background(here / "text", 1, 60), segments=1, steps=1, burn_in=(), start_tokens=()
    )
    train(settings, here / "run", device="cpu")
    (here / "records.jsonl").write_text("".join(one.to_line() + "\n" for one in figure_10([512])))
    (here / "file").write_text("mine")
    (here / "folder" / "inside").mkdir(parents=True)
    os.mkfifo(here / "pipe")
    return here


WORK = (
    "rmtscale.profiler.sweep.measure_in_child",
    "rmtscale.study.evaluation.evaluate.data_of",
    "rmtscale.report.bundle.file_contents",
    "rmtscale.study.training.loop.make_objective",
    "rmtscale.study.figures.figure.import_module",
    "rmtscale.report.calibration.try_constants",
)
LINES = {
    "profile --model pythia-14m --methods full --tokens 64 --device cpu --force": "pipe folder .",
    "evaluate run/last --segments 1 --samples 2 --device cpu --force": "pipe folder .",
    "calibrate records.jsonl --force": "pipe folder .",
    "report records.jsonl --force": "",
    "train --device cpu --background text": "",
    "reproduce figure-2 --force": "",
}
"""Commands, and which outputs only they cannot write: files where others write folders."""


@pytest.mark.parametrize("line", LINES)
def test_what_cannot_be_written_is_refused_before_the_work(
    rmtscale: Command, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name in WORK:
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("it works before it looks"))
    before = sorted(folder.rglob("*"))
    for out in ("file/x", "/proc/nowhere/x", *LINES[line].split()):
        done = rmtscale(*line.split(), "--out", out)
        assert (done.code, done.out) == (2, ""), (out, done)
        assert done.err.splitlines()[-1].startswith("error: "), out
        assert out.strip(".") in done.err.splitlines()[-1]
    assert sorted(folder.rglob("*")) == before
    assert (folder / "file").read_text() == "mine"


def test_metrics_of_two_trainings_are_no_metrics(tmp_path: Path) -> None:
    store = MetricsStore(tmp_path / "metrics.jsonl")
    for step in (10, 10, 20, 20):
        values = {"stage": 0, "stage_name": "", "loss": 1.0, "accuracy": None, "tokens": 1}
        values |= {"current_stage_accuracy": None, "learning_rate": 1.0, "seconds": 1.0}
        store.append(Interval(step=step, tokens_per_second=1.0, waiting_share=0.0, **values))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="step 10 after step 10, expected steps that rise"):
        read_metrics(store.path)
