"""Trainings with weights that are sharded or cut: the losses of whole ones, on any processes."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.distributed.tensor.parallel
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.sharding import shard
from rmtscale.study.tasks.blocks import IGNORED
from rmtscale.study.training.cut_state import HEADER
from rmtscale.study.training.cutting import training_layout
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.layout import BEST, CUT_STATE, LAST, METRICS, STATE
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.metrics import Interval, read_metrics
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.share import Share
from tests.forked import as_ranks
from tests.rmt.tiny_models import backbone, tokens
from tests.study.training.exact_training import (
    THOROUGH,
    memory_task,
    text_task,
    train_exactly,
)
from tests.tiny_training import write_background

SAME = 1e-6
Link = tuple[int, dict[str, Any]]
"""Processes, and how they share the weights."""
SHARE: tuple[Link, ...] = ((1, {}), (2, {"shard": "fsdp2"}), (1, {}), (2, {"tp": 2}))
"""What a training goes through in every run, an interval each."""
ALL: tuple[Link, ...] = (
    *SHARE,
    (4, {"shard": "fsdp2", "tp": 2}),
    (2, {"shard": "fsdp2"}),
    (4, {"shard": "fsdp2"}),
    (4, {"tp": 4}),
    (4, {}),
)


def one_rank(chosen: LoopSettings, folder: Path, more: dict[str, Any]) -> None:
    train_exactly(chosen, folder, **more)
    os._exit(0)  # as in test_rmt_two_processes.py


def go_through(chosen: LoopSettings, folder: Path, links: tuple[Link, ...]) -> list[Interval]:
    """One interval on each of some layouts."""
    for number, (processes, more) in enumerate(links):
        last = number == len(links) - 1
        given = more if last else {**more, "max_seconds": 0.0}
        if processes == 1:
            train_exactly(chosen, folder, **given)
        else:
            as_ranks(processes, folder.parent, one_rank, chosen, folder, given)
    return read_metrics(folder / METRICS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoopSettings]:
    """A training on one process, and beside it the same one on a chain of layouts."""
    folder = tmp_path_factory.mktemp("cut")
    links, steps = (ALL, 50) if THOROUGH else (SHARE, 6)
    chosen = memory_task(write_background(folder / "text"), len(links), steps)
    train_exactly(chosen, folder / "one")
    go_through(chosen, folder / "chain", links)
    return folder, chosen


def assert_same(found: list[Interval], wanted: list[Interval]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=SAME)
        assert ours.accuracy == theirs.accuracy
        assert ours.tokens == theirs.tokens
        assert ours.validation == pytest.approx(theirs.validation, abs=SAME)


def test_a_training_goes_on_in_any_layout(trained: tuple[Path, LoopSettings]) -> None:
    folder, _ = trained
    found, wanted = (read_metrics(folder / name / METRICS) for name in ("chain", "one"))
    assert_same(found, wanted)
    links = ALL if THOROUGH else SHARE
    assert [each.processes for each in found] == [processes for processes, _ in links]
    layouts = ["dp1", "dp2-zero3-states", "dp1", "tp2-wholevocab"]
    assert [each.layout for each in found][:4] == layouts
    assert (folder / "chain" / CUT_STATE).is_dir() != THOROUGH
    assert (folder / "chain" / STATE).exists() == THOROUGH, "one state: that of the last layout"


@pytest.mark.parametrize("checkpoint", [BEST, LAST])
def test_a_checkpoint_is_gathered(trained: tuple[Path, LoopSettings], checkpoint: str) -> None:
    """The same weights and names as whole ones have, in half precision."""
    folder, _ = trained
    found, wanted = (
        load_file(folder / name / checkpoint / "model.safetensors") for name in ("chain", "one")
    )
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype == torch.float16
        assert (found[name].float() - value.float()).abs().max() < 1e-3, name
    configs = [
        json.loads((folder / name / checkpoint / "config.json").read_text())
        for name in ("chain", "one")
    ]
    assert configs[0] == configs[1]


@pytest.mark.skipif(not THOROUGH, reason="minutes of four processes: RMTSCALE_THOROUGH=1")
def test_a_text_goes_on_in_any_layout(tmp_path: Path) -> None:
    chosen = text_task(write_background(tmp_path / "text", 8, 60), len(ALL), 50)
    train_exactly(chosen, tmp_path / "one")
    found = go_through(chosen, tmp_path / "chain", ALL)
    assert_same(found, read_metrics(tmp_path / "one" / METRICS))


def damaged(folder: Path, trained: tuple[Path, LoopSettings]) -> Path:
    """A copy of a training whose state is cut."""
    shutil.copytree(trained[0] / "chain", folder)
    return folder / CUT_STATE


@pytest.mark.skipif(THOROUGH, reason="the last layout there has whole weights")
def test_a_state_that_is_not_whole_is_refused(
    trained: tuple[Path, LoopSettings], tmp_path: Path
) -> None:
    _, chosen = trained
    for number, (why, damage) in enumerate(DAMAGES.items()):
        state = damaged(tmp_path / str(number), trained)
        damage(state)
        with pytest.raises(BadInput, match=rf"^state '.*{why}") as refused:
            train(chosen, state.parent, device="cpu")
        assert "\n" not in str(refused.value)


def _without_a_file(state: Path) -> None:
    sorted(state.glob("*.safetensors"))[0].unlink()


def _without_numbers(state: Path) -> None:
    file = sorted(state.glob("*.safetensors"))[0]
    tensors = load_file(file)
    _, header = _read_header(file)
    name = next(
        name for name in sorted(tensors) if name.startswith("model.") and tensors[name].numel()
    )
    tensors[name].fill_(float("nan"))
    save_file(tensors, file, header)


def _read_header(file: Path) -> tuple[int, dict[str, str]]:
    with file.open("rb") as source:
        size = int.from_bytes(source.read(8), "little")
        return size, json.loads(source.read(size))["__metadata__"]


def _cut_short(state: Path) -> None:
    file = sorted(state.glob("*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:-100])


def _without_header(state: Path) -> None:
    (state / HEADER).unlink()


DAMAGES = {
    "(missing or of another shape|is not whole)": _without_a_file,
    "has numbers that are none": _without_numbers,
    "expected one of this release": _cut_short,
    "cannot be read": _without_header,
}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def learner(kind: str, memory_tokens: int) -> Any:
    torch.manual_seed(0)
    if kind == "bert":
        config = RMTConfig(10, memory_tokens, cls_token_id=1, sep_token_id=2)
        return Answerer(RMTForSequenceClassification(backbone("bert"), config), range(3))
    rmt = RMTForCausalLM(backbone("gpt2", torch.float64), RMTConfig(8, memory_tokens))
    return Predictor(rmt) if kind == "text" else Answerer(rmt, range(3))


@pytest.mark.parametrize(
    ("kind", "memory_tokens"), [("answers", 2), ("bert", 2), ("text", 2), ("text", 0)]
)
@pytest.mark.usefixtures("alone")
def test_sharded_gradients_are_those_of_one_graph(kind: str, memory_tokens: int) -> None:
    """State by state, the root's weights gathered for one segment at a time; and what is read."""
    warnings.simplefilter("error", UserWarning)
    whole, cut = learner(kind, memory_tokens), learner(kind, memory_tokens)
    shard(cut.rmt)
    cut.cut = True
    ids = tokens(3, 21)
    second: tuple[Any, ...] = (ids[:, 0] % 3, None)
    if kind == "text":
        targets = ids.roll(-1, 1)
        targets[0, -5:] = IGNORED
        second = (targets, 9)
    for one in (whole, cut):
        one.train()
        for _ in range(2):
            one.zero_grad()
            found = one(ids, *second)
            loss = found[0] if isinstance(found, tuple) else found
            loss.backward()
        one.loss = loss.detach()
    tolerance = 1e-6 if kind == "bert" else 1e-7
    assert abs(float(whole.loss - cut.loss)) < tolerance
    for (name, ours), theirs in zip(cut.named_parameters(), whole.parameters(), strict=True):
        if theirs.grad is None:
            assert ours.grad is None or not ours.grad.full_tensor().any(), name
        else:
            assert (ours.grad.full_tensor() - theirs.grad).abs().max() < tolerance, name
    with torch.no_grad():
        if kind == "text":
            pair = [one.eval().token_losses(ids, *second) for one in (whole, cut)]
        else:
            pair = [one.eval().read(ids)[0] for one in (whole, cut)]
    assert (pair[0] - pair[1]).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("processes", "shard", "tp", "found"),
    [
        (1, "ddp", 1, "dp1"),
        (1, "fsdp2", 1, "dp1"),
        (4, "ddp", 1, "dp4"),
        (4, "fsdp2", 1, "dp4-zero3-states"),
        (4, "fsdp2", 2, "tp2-dp2-zero3-states-wholevocab"),
        (4, "ddp", 4, "tp4-wholevocab"),
        (4, "ddp", 3, BadInput("tp 3: expected a divisor of 4, the processes")),
        (1, "ddp", 2, BadInput("tp 2: expected a divisor of 1, the processes")),
        (4, "ddp", 0, BadInput("tp 0: expected a divisor of 4")),
        (4, "ddp", 2, BadInput("shard 'ddp': expected fsdp2 with tp 2 on 4 processes")),
        (4, "zero", 1, BadInput("shard 'zero': expected one of ddp, fsdp2")),
    ],
)
def test_layouts_of_a_training(processes: int, shard: str, tp: int, found: str | BadInput) -> None:
    if isinstance(found, str):
        assert training_layout(processes, shard, tp).name == found
        return
    with pytest.raises(BadInput, match=str(found)):
        training_layout(processes, shard, tp)


@settings(max_examples=50, derandomize=True)
@given(st.integers(0, 20), st.integers(1, 6), st.booleans())
def test_every_batch_of_a_validation_is_counted_once(
    count: int, ranks: int, together: bool
) -> None:
    """And where all run together, each has as many turns."""
    dealt = [
        list(Share(rank, ranks, together=together).dealt(range(count))) for rank in range(ranks)
    ]
    counted = sorted(index for each in dealt for index, once in each if once)
    assert counted == list(range(count))
    turns = {len(each) for each in dealt}
    assert len(turns) == 1 if together else max(turns) - min(turns) <= 1
