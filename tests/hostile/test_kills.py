"""Killed at any write: nothing is lost, nothing done twice. A full disk: nothing is left half."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rmtscale.cli.progress import PlainLines as PlainProgress
from rmtscale.cli.training_progress import PlainLines
from rmtscale.errors import BadInput
from rmtscale.profiler.sweep import Sweep, run_sweep
from rmtscale.records.measurement import Measurement
from rmtscale.records.point import Point
from rmtscale.records.record import Protocol, Record
from rmtscale.records.store import Reading, RecordStore
from rmtscale.report import bundle
from rmtscale.report.document import Document, Source, make_document
from rmtscale.study.evaluation.evaluate import EvaluationSettings, evaluate
from rmtscale.study.figures.figure import Sources
from rmtscale.study.figures.figure_11 import page as figure_11
from rmtscale.study.figures.memory_tasks import page, runs
from rmtscale.study.figures.memory_tasks.plan import Plan
from rmtscale.study.figures.registry import FIGURES
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.tasks.packing import packed_text
from rmtscale.study.tasks.tokenizer import load_tokenizer
from rmtscale.study.training.layout import BEST, LAST, METRICS, SETTINGS, STATE
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.metrics import read_metrics
from tests.command_line import Command
from tests.grids import THOROUGH
from tests.synthetic.records import figure_10
from tests.tiny_text import tiny_text_settings, write_text
from tests.tiny_training import tiny_settings, write_background

MAKES = ("open", "os.mkdir", "os.link", "os.symlink")
CHANGES = (*MAKES, "os.rename", "os.remove", "os.rmdir", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
told: list[tuple[Callable[[], None], tuple[str, ...]]] = []


def hook(event: str, given: tuple[Any, ...]) -> None:
    """Python tells of every change of the disk before it is made; a hook stays for good."""
    if not told or event not in told[-1][1] or (event == "open" and not given[2] & WRITING):
        return
    watcher = told.pop()  # it is not told of what it does itself
    try:
        watcher[0]()
    finally:
        told.append(watcher)


@cache
def listen() -> None:
    """From the first test on that needs it, and not for all others: it is called of every event."""
    sys.addaudithook(hook)


@contextmanager
def watched(see: Callable[[], None], events: tuple[str, ...]) -> Iterator[None]:
    listen()
    told.append((see, events))
    try:
        yield
    finally:
        told.clear()


def content(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def leavings(folder: Path) -> list[str]:
    """Parts of what was never finished, and locks."""
    return [path for path in content(folder) if hidden(path)]


def kills(folder: Path, copies: Path, work: Callable[[], object]) -> tuple[list[Path], int]:
    """The folder as a kill before each of its changes would leave it, and how many there are.

    Of those with the same finished files, the one with the most unfinished ones beside them.
    """
    kept: dict[tuple[tuple[str, bytes], ...], tuple[int, Path]] = {}
    count = 0

    def see() -> None:
        nonlocal count
        now = content(folder)
        finished = tuple(item for item in now.items() if not hidden(item[0]))
        most, _ = kept.get(finished, (-1, folder))
        count += 1
        if len(now) - len(finished) > most:
            copy = copies / str(count)
            shutil.copytree(folder, copy, symlinks=True)
            kept[finished] = (len(now) - len(finished), copy)

    with watched(see, CHANGES):
        work()
    return [copy for _, copy in kept.values()], count


def full_disks(folder: Path, work: Callable[[], object], *, anew: bool = False) -> int:
    """Runs ``work`` on a disk that is full from its first write on, from its third, and so on;
    from every single one in ``make verify``.

    Args:
        folder: has no part of a file in it after any of them, and all that was there before.
        work: is run until it succeeds.
        anew: it removes what was there.

    Returns:
        How many writes it took at most.
    """
    for room in range(0, 10_000, 1 if THOROUGH else 2):
        left, failed = room, ""

        def see() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        before = {} if anew else content(folder)
        try:
            with watched(see, MAKES):
                work()
        except BadInput as error:
            failed = str(error)
        if not failed:
            assert left >= 0
            return room
        assert "No space left on device" in failed
        assert leavings(folder) == []
        assert {path: now for path, now in content(folder).items() if path in before} == before
    raise AssertionError("it never succeeds")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> MemoryTaskSettings:
    """Two stages, four steps, a validation every two."""
    return tiny_settings(
        write_background(tmp_path_factory.mktemp("text"), 1, 60),
        segments=1,
        steps=4,
        batch_size=4,
        log_every=2,
        validate_every=2,
        stage_min_steps=2,
        stage_max_steps=2,
        burn_in=(),
        validation_samples=4,
        validation_segments=(1,),
    )


def result(folder: Path) -> dict[str, object]:
    """What a training comes to, but for the clock."""
    weights = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("model.safetensors")
    }
    return {**weights, "metrics": [one.outcome() for one in read_metrics(folder / METRICS)]}


@pytest.fixture(scope="module")
def whole(settings: MemoryTaskSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(settings, folder, device="cpu").finished
    return folder


def test_a_training_killed_at_any_write(
    settings: MemoryTaskSettings, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "here" / "run"
    folder.parent.mkdir()

    def work() -> None:
        assert train(settings, folder, device="cpu", save_seconds=0).finished

    killed, count = kills(folder.parent, tmp_path / "killed", work)
    expected = result(whole)
    assert result(folder) == expected
    assert leavings(folder.parent) == []
    assert sorted(path.parent.name for path in folder.rglob("model.safetensors")) == [
        *(BEST, LAST, "segments-1")
    ]
    assert count > 60
    assert len(killed) > 8
    for one in killed:
        if (one / "run" / LAST).is_dir():  # what looks done is done
            assert result(one / "run") == expected
            assert (one / "run" / STATE).is_file()
        assert train(settings, one / "run", device="cpu", save_seconds=0).finished
        assert result(one / "run") == expected
        assert leavings(one) == []


def test_a_training_on_a_full_disk(
    settings: MemoryTaskSettings, whole: Path, tmp_path: Path
) -> None:
    short = replace(settings, steps=2)
    folder = tmp_path / "run"
    assert (
        full_disks(tmp_path, lambda: train(short, folder, device="cpu", anew=True), anew=True) > 15
    )
    assert train(settings, folder, device="cpu").finished  # its end is moved: it goes on
    assert result(folder) == result(whole)


def test_leavings_of_others_stay(settings: MemoryTaskSettings, tmp_path: Path) -> None:
    """In whatever folder a training is begun: its own names alone are removed."""
    others = [
        ".lock",
        ".x.lock",
        ".film.mkv.abc.part",
        "mine/.lock",
        "mine/.best.abc.part",
        "mine/a.lock",
    ]
    own = [".best.abc.part", "best/.evaluation.jsonl.lock", "stages/.segments-1.abc.part"]
    for name in [*others, *own]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    train(replace(settings, steps=2), tmp_path, device="cpu")
    assert [name for name in others if (tmp_path / name).exists()] == others
    assert [name for name in own if (tmp_path / name).exists()] == []


def test_an_end_that_was_moved_is_not_reached_yet(
    settings: MemoryTaskSettings, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(replace(settings, steps=2), folder, device="cpu")
    assert (folder / LAST).is_dir()
    (folder / BEST / "evaluation.jsonl").write_text("mine")
    train(settings, folder, device="cpu", max_seconds=0)
    assert result(folder) == result(whole)
    assert (folder / BEST / "evaluation.jsonl").read_text() == "mine", "kept beside new weights"
    train(replace(settings, steps=8), folder, device="cpu", max_seconds=0)
    assert not (folder / LAST).exists()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_training_that_is_told_to_stop(
    rmtscale: Command,
    settings: MemoryTaskSettings,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
    code: int,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / SETTINGS).write_text(settings.to_json())
    monkeypatch.setattr(PlainLines, "interval", lambda *_: os.kill(os.getpid(), how))
    stopped = rmtscale("train", "--out", str(folder), "--device", "cpu")
    assert (stopped.code, stopped.err) == (code, f"error: interrupted by {how.name}\n")
    assert stopped.out == f"the last state is in {folder}; the same command goes on from there\n"
    assert leavings(tmp_path) == []
    monkeypatch.undo()
    assert rmtscale("train", "--out", str(folder), "--device", "cpu").code == 0
    assert result(folder) == result(whole)


def measured_again(store: RecordStore, sweep: Sweep, measured: Measurement) -> list[Point]:
    """Runs a sweep without measuring; the points that were asked for."""
    asked: list[Point] = []

    def measure(point: Point, protocol: Protocol, say: Callable[[str], None]) -> Measurement:
        asked.append(point)
        return measured

    run_sweep(sweep, store, PlainProgress(), measure=measure)
    return asked


def test_a_sweep_killed_at_any_write(
    point: Callable[..., Point], record: Callable[..., Record], tmp_path: Path
) -> None:
    sweep = Sweep(points=tuple(point(tokens=tokens) for tokens in (64, 128, 256)))
    measured = record().measured
    out, keys = tmp_path / "here" / "x.jsonl", sorted(one.key for one in sweep.points)
    out.parent.mkdir()
    killed, _ = kills(
        out.parent,
        tmp_path / "killed",
        lambda: measured_again(RecordStore(out), sweep, measured),
    )
    assert len(killed) >= 3
    for one in killed:
        store = RecordStore(one / out.name)
        had = sorted(record.key for record in store.read().records)
        again = measured_again(store, sweep, measured)
        assert sorted([*had, *(point.key for point in again)]) == keys
        assert sorted(record.key for record in store.read().records) == keys
        assert leavings(one) == []


def test_a_sweep_on_a_full_disk(
    point: Callable[..., Point], record: Callable[..., Record], tmp_path: Path
) -> None:
    sweep, measured = Sweep(points=(point(tokens=64),)), record().measured
    out = tmp_path / "x.jsonl"
    measured_again(RecordStore(out), Sweep(points=(point(tokens=128),)), measured)
    assert full_disks(tmp_path, lambda: measured_again(RecordStore(out), sweep, measured)) > 1
    assert len(RecordStore(out).read().records) == 2


def evaluated(checkpoint: Path, out: Path) -> list[tuple[int, bool]]:
    """Evaluates two lengths: the segments of each, and whether it was in the file."""
    seen: list[tuple[int, bool]] = []
    loaded = load_checkpoint(checkpoint)
    asked = EvaluationSettings(
        segments=(1, 2), samples=2, batch_size=2, background=loaded.settings.background
    )
    evaluate(
        loaded,
        asked,
        EvaluationStore(out),
        device=torch.device("cpu"),
        observe=lambda record, known: seen.append((record.point.segments, known)),
    )
    return seen


@pytest.fixture(scope="module")
def checkpoint(whole: Path, settings: MemoryTaskSettings) -> Path:
    """A checkpoint whose noise is found where it was."""
    path = whole / LAST / "task.json"
    name = Path(settings.background).name
    path.write_text(path.read_text().replace(f'"{name}"', f'"{settings.background}"'))
    return whole / LAST


def test_an_evaluation_killed_at_any_write(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "here" / "x.jsonl"
    out.parent.mkdir()
    killed, _ = kills(out.parent, tmp_path / "killed", lambda: evaluated(checkpoint, out))
    assert len(killed) >= 3
    for one in killed:
        had = {record.point.segments for record in EvaluationStore(one / out.name).read().records}
        assert evaluated(checkpoint, one / out.name) == [(1, 1 in had), (2, 2 in had)]
        kept = EvaluationStore(one / out.name).read()
        assert [record.point.segments for record in kept.records] == [1, 2]
        assert (kept.warnings(), leavings(one)) == ([], [])
    assert full_disks(tmp_path, lambda: evaluated(checkpoint, tmp_path / "y.jsonl")) > 1


def packed(text: Path, cache: Path) -> tuple[bytes, bytes]:
    """What a text is as ids, from its folder in the cache or made anew."""
    tokenizer = load_tokenizer("latex-4096")
    splits = [packed_text(str(text), split, tokenizer, cache) for split in ("train", "validation")]
    return splits[0].tokens.tobytes(), splits[1].starts.tobytes()


def test_packing_a_text_killed_at_any_write(tmp_path: Path) -> None:
    text, cache = write_text(tmp_path / "text", 3, 40), tmp_path / "here" / "cache"
    cache.mkdir(parents=True)
    killed, count = kills(cache, tmp_path / "killed", lambda: packed(text, cache))
    whole = content(cache)
    assert count > 15
    assert len(killed) == 3, "neither, the first, both"
    for one in killed:
        assert packed(text, one) == packed(text, cache)
        assert content(one) == whole
    (tmp_path / "full").mkdir()
    assert full_disks(tmp_path / "full", lambda: packed(text, tmp_path / "full" / "cache")) > 5


def test_a_training_on_text_killed_at_any_write(tmp_path: Path) -> None:
    """Its text is packed in its own folder, before anything else is there."""
    settings = tiny_text_settings(
        write_text(tmp_path / "text", 3, 120), segments=1, steps=4, validate_every=4
    )
    folder = tmp_path / "here" / "run"
    folder.parent.mkdir()

    def work(folder: Path) -> None:
        assert train(settings, folder, device="cpu", save_seconds=0).finished

    killed, _ = kills(folder.parent, tmp_path / "killed", lambda: work(folder))
    expected = result(folder)
    packing = [one for one in killed if not (one / "run" / SETTINGS).exists()]
    assert len(packing) >= 3, "nothing, one text, both"
    for one in packing:
        work(one / "run")
        assert result(one / "run") == expected
        assert leavings(one) == []


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> Document:
    """A report that is drawn at once; one picture has nothing to show."""
    made = {name: name.encode() for name in bundle.NAMES} | {"terms.png": None}
    monkeypatch.setattr(bundle, "file_contents", lambda _: made)
    return make_document([Source("made.jsonl", Reading(tuple(figure_10([512]))))])


def test_a_report_killed_at_any_write(document: Document, tmp_path: Path) -> None:
    """All of it or nothing, in the place of an older one too."""
    out = tmp_path / "here" / "out"
    out.parent.mkdir()
    killed, _ = kills(
        out.parent, tmp_path / "new", lambda: bundle.make_files(document, out, force=False)
    )
    whole = content(out)
    assert set(whole) == set(bundle.NAMES) - {"terms.png"}
    assert [content(one / "out") for one in killed] == [{}, whole]
    shutil.rmtree(out)
    old = {**dict.fromkeys(bundle.NAMES, b"old"), "mine": b"", "mine/notes.txt": b"notes"}
    (out / "mine").mkdir(parents=True)
    for name, data in old.items():
        if data:
            (out / name).write_bytes(data)
    killed, _ = kills(
        out.parent, tmp_path / "again", lambda: bundle.make_files(document, out, force=True)
    )
    new = {**whole, "mine": b"", "mine/notes.txt": b"notes"}
    assert content(out) == new
    assert [content(one / "out") for one in killed] == [old, new]
    assert leavings(out.parent) == []
    for one in killed:
        bundle.make_files(document, one / "out", force=True)
        assert content(one / "out") == new
        assert leavings(one) == []


def test_a_report_in_a_folder_that_cannot_be_moved(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody stands in it: its files are written there, and it stays the same folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "terms.png").write_bytes(b"old")
    before = tmp_path.stat().st_ino
    bundle.make_files(document, Path(), force=True)
    assert set(content(tmp_path)) == set(bundle.NAMES) - {"terms.png"}
    assert tmp_path.stat().st_ino == before


def test_a_report_on_a_full_disk(document: Document, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert full_disks(tmp_path, lambda: bundle.make_files(document, out, force=True)) > 20
    assert full_disks(tmp_path, lambda: bundle.make_files(document, out, force=True)) > 20


def test_a_figure_killed_at_any_write(
    settings: MemoryTaskSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings, evaluations, page: given again, what is done is not done again."""
    recipes = {"a": settings, "b": replace(settings, curriculum=False)}
    monkeypatch.setattr(runs, "plan", lambda *_, **__: Plan(recipes, (1,), 2, 2, 2))
    drawing = SimpleNamespace(get_suptitle=lambda: "Right answers")
    monkeypatch.setattr(figure_11, "draw", lambda *_: drawing)
    monkeypatch.setattr(page, "picture_files", lambda name, _: {f"{name}.png": b"png"})
    here = tmp_path / "here"
    here.mkdir()

    def make(folder: Path) -> list[str]:
        said: list[str] = []
        setup = TrainingSetup(
            folder=folder / "runs",
            background=settings.background,
            device="cpu",
            announce=said.append,
        )
        FIGURES["figure-11"].make(folder / "out", Sources(training=setup), force=True)
        return said

    killed, count = kills(here, tmp_path / "killed", lambda: make(here))
    assert count > 100
    done = content(here / "out")
    assert {"README.md", "figure-11.png", "records.jsonl"} <= set(done)
    # One for each state of what counts: which are trained, how much is evaluated, is it there.
    several = {
        (
            (one / "runs" / "a" / LAST).is_dir(),
            (one / "runs" / "b" / LAST).is_dir(),
            len(EvaluationStore(one / "runs" / "figure-11.jsonl").read().records),
            (one / "out").is_dir(),
        ): one
        for one in killed
    }
    assert len(several) >= 5
    for (a, b, evaluated, made), one in several.items():
        if made:
            assert content(one / "out") == done
        missing = ", ".join(name for name, there in (("a", a), ("b", b)) if not there)
        said = make(one)
        assert [line for line in said if line.startswith("training")] == (
            [f"training {missing}"] if missing else []
        )
        assert len([line for line in said if "segments: " in line]) == 2 - evaluated
        assert len(EvaluationStore(one / "runs" / "figure-11.jsonl").read().records) == 2
        for name in "ab":
            assert result(one / "runs" / name) == result(here / "runs" / name)
        assert set(content(one / "out")) == set(done)
        assert leavings(one) == []


@pytest.mark.parametrize("most_bytes", [0, 100, 2_000, 60_000])
def test_a_training_whose_writes_are_cut_short(
    settings: MemoryTaskSettings, whole: Path, tmp_path: Path, most_bytes: int
) -> None:
    """The system's own refusal, in the middle of a file: by Python and by safetensors."""
    folder = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        with pytest.raises(BadInput, match="File too large"):
            train(settings, folder, device="cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert leavings(tmp_path) == []
    assert train(settings, folder, device="cpu").finished
    assert result(folder) == result(whole)
