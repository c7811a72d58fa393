"""Two GPUs: steps, trainings and evaluations that two processes share, beside those of one.

One command runs all of it, also where no hypothesis is installed::

    python -m pytest --noconftest -p no:cacheprovider tests/test_two_gpus.py

What runs on the GPUs runs in copies of this process, which uses none itself.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import torch
import torch.distributed as dist

from rmtscale.profiler.collectives import CollectiveCounter
from rmtscale.profiler.prediction import predict
from rmtscale.profiler.ranks import Place, Ranks
from rmtscale.profiler.subject import Subject
from rmtscale.records.point import Point
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.layout import parse_layout
from rmtscale.study.training.layout import BEST, METRICS, SETTINGS, STATE
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.train_state import read_header
from tests.forked import alone, as_ranks, launched
from tests.profiler.beside_one import differentiate
from tests.study.training.on_ranks import command_on_one_rank, train_on_one_rank
from tests.tiny_training import tiny_settings, write_background

DEVICE = os.environ.get("RMTSCALE_TWO", "cuda")
"""``cpu`` runs all of it on two processes of a CPU, to try it where there are no GPUs."""
GPUS = DEVICE == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPUS and torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs"),
]
INTERVAL, STEPS = 9, 18
OWN = ("evaluated_at", "seconds", "tokens_per_second", "memory", "environment", "processes")
"""Fields of an evaluation that are not about the samples."""
SHAPES = {
    "gpt2": replace(PRESETS["gpt2"], layers=3, width=256, heads=4, kv_heads=4, mlp_width=1024,
                    vocabulary=1000, embedding_width=256, positions=2048, position_rows=2048),
    "llama": replace(PRESETS["llama-3.2-1b"], layers=3, width=256, heads=4, kv_heads=2,
                     mlp_width=512, vocabulary=1000, embedding_width=256),
}  # fmt: skip


def context_point(model: str, layout: str) -> Point:
    return Point(
        model=SHAPES[model],
        method="full",
        tokens=2048 if GPUS else 64,
        batch_size=2,
        mode="train",
        precision="bf16",
        optimizer="adamw",
        layout=replace(parse_layout(layout), micro_batch=2),
        device=DEVICE,  # type: ignore[arg-type]
    )


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Of a gradient, beside the one in fp32."""
    return float((found.float() - exact).norm() / exact.norm())


def beside_one_process(points: list[Point], folder: Path) -> None:
    """On a rank: how far a step is from one in fp32, a process's in bf16 too; and what is sent.

    The second step sorts DDP's buckets, the third is counted.
    """
    found = []
    place = Place(rank=int(os.environ["RANK"]), size=2, store=str(folder / "store"))
    ranks = Ranks(place, DEVICE)
    for point in points:
        whole = replace(point, layout=None)
        shared, rounded = Subject(point, ranks), Subject(whole)
        exact = Subject(replace(whole, precision="fp32"))
        exact.model.load_state_dict(rounded.model.state_dict())
        for subject in (rounded, exact):
            subject.ids_BN = subject.labels = shared.ids_BN.clone()
        ours, one, right = (differentiate(subject) for subject in (shared, rounded, exact))
        mean = torch.tensor(ours.loss)
        dist.all_reduce(mean)
        far = {"loss": (mean.item() / 2, right.loss)}
        for name, gradient in right.gradients.items():
            far[name] = (
                error(ours.gradients[name], gradient),
                error(one.gradients[name], gradient),
            )
        shared.step()
        with CollectiveCounter() as counter:
            shared.step()
        predicted = predict(point).layout
        assert predicted is not None
        sent = [
            {part.kind: part.sent_bytes for part in parts}
            for parts in (counter.sent(), predicted.sent)
        ]
        found.append({"far": far, "sent": sent})
    (folder / f"rank-{place.rank}.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)


def test_context_parallelism_has_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    points = [
        context_point("gpt2", "cp2-torch"),
        context_point("llama", "cp2-torchring"),
        context_point("llama", "cp2-torch-zero3"),
    ]
    as_ranks(2, tmp_path, beside_one_process, points, tmp_path, gpus=GPUS)
    for rank in range(2):
        found = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        for point, each in zip(points, found, strict=True):
            loss, right = each["far"].pop("loss")
            assert loss == pytest.approx(right, abs=0.01), point.title()
            for name, (ours, one) in each["far"].items():
                assert ours < 2 * one + 0.01, (point.title(), name)
            sent, predicted = each["sent"]
            assert sent == predicted, point.title()


def settings(background: Path) -> LoopSettings:
    return tiny_settings(
        background,
        steps=STEPS,
        log_every=INTERVAL,
        validate_every=INTERVAL,
        stage_min_steps=INTERVAL,
        stage_max_steps=INTERVAL,
        learning_rate=5e-4,
        batch_size=8,
        validation_samples=24,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoopSettings]:
    """A training of one process; its text beside it."""
    folder = tmp_path_factory.mktemp("two-gpus")
    chosen = settings(write_background(folder / "text"))
    alone(folder, train_on_one_rank, chosen, folder / "one", {"device": DEVICE})
    return folder, chosen


def assert_same(found: list[Interval], wanted: list[Interval]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.step, ours.stage, ours.tokens) == (theirs.step, theirs.stage, theirs.tokens)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)


@pytest.mark.parametrize(
    ("more", "layout"),
    [
        ({}, "dp2"),
        ({"shard": "fsdp2"}, "dp2-zero3-states"),
        ({"tp": 2}, "tp2-wholevocab"),
    ],
    ids=["ddp-captured", "fsdp2", "tp"],
)
def test_a_training_has_the_losses_of_one(
    more: dict[str, Any], layout: str, trained: tuple[Path, LoopSettings], tmp_path: Path
) -> None:
    folder, chosen = trained
    assert chosen.cuda_graph, "DDP replays captured steps"
    given = {"device": DEVICE, **more}
    as_ranks(2, tmp_path, train_on_one_rank, chosen, tmp_path / "two", given, gpus=GPUS)
    found, wanted = (read_metrics(one / METRICS) for one in (tmp_path / "two", folder / "one"))
    assert {(each.processes, each.layout) for each in found} == {(2, layout)}
    assert_same(found, wanted)


def test_an_evaluation_has_the_answers_of_one(
    trained: tuple[Path, LoopSettings], tmp_path: Path
) -> None:
    folder, _ = trained
    words = ["evaluate", str(folder / "one" / BEST), "--background", str(folder / "text")]
    words += ["--device", DEVICE, "--batch-size", "4", "--samples", "10", "--segments", "1,4"]
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    alone(tmp_path, command_on_one_rank, [*words, "--out", str(files[0])])
    given = [*words, "--out", str(files[1])]
    as_ranks(2, tmp_path, command_on_one_rank, given, gpus=GPUS)
    one, two = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert [each.get("processes") for each in (*one, *two)] == [None, None, 2, 2]
    for ours, theirs in zip(two, one, strict=True):
        for name in ours.keys() - set(OWN):
            assert_about(ours[name], theirs[name], name)


def assert_about(found: Any, wanted: Any, name: str) -> None:
    """Equal, and to a thousandth where it is no whole number."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), name
        for key, value in wanted.items():
            assert_about(found[key], value, f"{name}.{key}")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-3), name
    else:
        assert found == wanted, name


def test_a_killed_process_ends_both_and_one_goes_on(tmp_path: Path) -> None:
    """Over NCCL the other one waits on its GPU, until torchrun kills it."""
    chosen = replace(settings(write_background(tmp_path / "text")), log_every=3)
    folder = tmp_path / "killed"
    folder.mkdir()
    (folder / SETTINGS).write_text(chosen.to_json())
    words = ["train", "--out", str(folder), "--device", DEVICE]
    began = monotonic()
    run: Callable[..., int] = launched
    code = run(2, tmp_path, command_on_one_rank, words, 11, signal.SIGKILL, gpus=GPUS)
    assert code != 0
    assert monotonic() - began < 60
    assert read_header(folder / STATE).step == 9, "it was in its eleventh step"
    alone(tmp_path, train_on_one_rank, chosen, folder, {"device": DEVICE})
    found = read_metrics(folder / METRICS)
    assert [each.processes for each in found] == [2, 2, 2, 1, 1, 1]
