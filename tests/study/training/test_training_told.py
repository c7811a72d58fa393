"""A head tells from the memory which facts were read: its loss, and that none of it is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.rmt.capture import Capture, GraphCapture
from rmtscale.rmt.segmenting import cut
from rmtscale.study.tasks import babilong
from rmtscale.study.training.cutting import Cutter, training_layout
from rmtscale.study.training.gradients import Gradients, can_capture
from rmtscale.study.training.layout import BEST, LAST, METRICS
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks import objective
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.memory_tasks.told import FactHead
from rmtscale.study.training.metrics import read_metrics
from rmtscale.study.training.share import Share
from rmtscale.units import format_loss
from tests.command_line import Command
from tests.rmt.stand_in_capture import StandInCapture
from tests.study.training.told_by_hand import told_by_hand
from tests.tiny_training import demand_both_ends, tiny_settings, write_background

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
KINDS = ["gpt-neox-tiny", "bert-tiny"]
FACTS, WEIGHT = 30, 0.7
SHORT: dict[str, Any] = {
    "steps": 16,
    "log_every": 1,
    "validate_every": 16,
    "stage_min_steps": 1,
    "stage_max_steps": 1,
    "burn_in_share": 1.0,
}


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


def reasoning(background: Path, **more: Any) -> MemoryTaskSettings:
    usual: dict[str, Any] = {"task": "reasoning", "segment_size": 48, "start_tokens": (30,)}
    return tiny_settings(background, **(usual | {"told_weight": WEIGHT} | more))


def answerer_with_head(backbone: str, **more: Any) -> Answerer:
    settings = MemoryTaskSettings(backbone=backbone, segment_size=16, memory_tokens=2, **more)
    rmt = build_rmt(settings, 40, 6)
    for parameter in rmt.parameters():  # larger than 0.02, so that differences can be seen
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    head = FactHead(2 * rmt.embedding_VE.shape[1], (1, FACTS), WEIGHT, 0)
    return Answerer(rmt, range(5, 11), fact_head=head)


def given_facts(tokens: int, segment_tokens: int) -> tuple[torch.Tensor, ...]:
    """Three samples of three facts: one is told twice, one begins the second segment, and not each
    sample has one in the first."""
    bounds = cut(tokens, segment_tokens)
    torch.manual_seed(1)
    ids_BN = torch.randint(4, 40, (3, tokens), dtype=torch.int32)
    facts_B1F = torch.tensor([[[4, 29, 4]], [[0, 7, 8]], [[11, 12, 13]]])
    columns = [[0, 8, tokens - 9], [bounds[1][0], 15, tokens - 1], [tokens - 3, 30, 29]]
    ends_S1 = torch.tensor([[end] for _, end in bounds])
    told_BSF = facts_B1F.where(torch.tensor(columns)[:, None] < ends_S1, -1)
    return ids_BN, torch.tensor([0, 3, 5]), told_BSF


@pytest.mark.parametrize("backbone", KINDS)
@pytest.mark.parametrize("whole_segments", [False, True])
def test_the_loss_is_that_of_a_slow_loop(backbone: str, whole_segments: bool) -> None:
    """Four segments, the first one shorter or not; a loss on the answers is added."""
    answerer = answerer_with_head(backbone).double().eval()
    tokens = 4 * answerer.segment_tokens - (0 if whole_segments else 5)
    ids_BN, answers_B, told_BSF = given_facts(tokens, answerer.segment_tokens)
    ends = [end for _, end in cut(tokens, answerer.segment_tokens)]

    def known(row: int, end: int) -> list[tuple[int, int]]:
        return [(0, fact) for fact in told_BSF[row, ends.index(end)].tolist() if fact >= 0]

    with torch.no_grad():
        plain, right = answerer(ids_BN, answers_B)
        loss, same, own, told = answerer(ids_BN, answers_B, None, None, None, told_BSF)
        each = [
            told_by_hand(answerer, ids, partial(known, row))
            for row, ids in enumerate(ids_BN.tolist())
        ]
    expected = math.fsum(each) / 3
    assert right == same
    assert abs(expected - math.log(FACTS)) > 1e-3, "the memory says something"
    assert float(loss - plain) == pytest.approx(WEIGHT * expected, rel=1e-10)
    assert torch.equal(own, plain), "the task's own loss is that without a head"
    assert float(told) == pytest.approx(expected, rel=1e-10)
    without_BSF = told_BSF.clone()
    without_BSF[1] = -1  # a sample of which nothing is told adds nothing
    with torch.no_grad():
        *_, told = answerer(ids_BN, answers_B, None, None, None, without_BSF)
    assert float(told) == pytest.approx((each[0] + each[2]) / 3, rel=1e-10)
    if answerer.decoder:
        asked = torch.tensor([[3, tokens - 1]] * 3), torch.tensor([[1, 0], [-1, 3], [2, 5]])
        expected = (2 * each[0] + each[1] + 2 * each[2]) / 5  # weighted as the questions are
        with torch.no_grad():
            questions, _ = answerer(ids_BN, answers_B, None, *asked)
            both, _, own, told = answerer(ids_BN, answers_B, None, *asked, told_BSF)
        assert float(both - questions) == pytest.approx(WEIGHT * expected, rel=1e-10)
        assert float(own) == pytest.approx(float(questions), rel=1e-12)
        assert float(told) == pytest.approx(expected, rel=1e-10)


def spaced(ids: Iterable[int]) -> str:
    return " " + "".join(f"{word} " for word in ids)


@pytest.mark.parametrize("backbone", KINDS)
def test_a_batch_brings_its_facts(background: Path, backbone: str) -> None:
    """Found again in the text by their words; what is read and right is that of weight 0."""
    made = MemoryObjective(reasoning(background, backbone=backbone, batch_size=3))
    plain = MemoryObjective(replace(made.settings, told_weight=0.0))
    learner, current = made.learner.double().eval(), len(made.stages) - 1
    words = [spaced(made.data.vocabulary.array(fact)) for fact in made.data.task.all_facts()]
    seen = set()
    for step in range(8):
        batch, before = made.batch(step, current), plain.batch(step, current)
        assert batch.draw == before.draw
        assert (batch.scored, batch.constant) == (before.scored, before.constant)
        for one, other in zip(batch.inputs, before.inputs, strict=False):
            assert torch.equal(one, other)
        if batch.constant:
            assert len(batch.inputs) == len(before.inputs) == 3, "a burn-in has nothing told"
            assert len(made.inputs(batch, CPU)) == 3
            continue
        assert len(batch.inputs) == len(before.inputs) + 1
        ids_BN = batch.inputs[0]

        def known(row: list[int], end: int) -> list[tuple[int, int]]:
            text = spaced(row[:end])
            return [(0, index) for index, own in enumerate(words) if own in text]

        with torch.no_grad():
            each = [told_by_hand(learner, row, partial(known, row)) for row in ids_BN.tolist()]
            expected = WEIGHT * math.fsum(each) / len(each)
            loss, *_ = learner(*made.inputs(batch, CPU))
            answer, _ = learner(*before.inputs[:2])
        assert float(loss - answer) == pytest.approx(expected, rel=1e-9)
        seen.add(len(cut(ids_BN.shape[1], learner.segment_tokens)))
        # Two processes with rows of their own add up to the whole batch.
        parts = [batch.part(Share(rank, 2), made.scored) for rank in range(2)]
        with torch.no_grad():
            losses = [part.weight * learner(*made.inputs(part, CPU))[0] for part in parts]
        assert float(sum(losses)) / 2 == pytest.approx(float(loss), rel=1e-12)
    assert {1, 2} <= seen


@pytest.mark.parametrize("backbone", KINDS)
def test_recomputed_and_captured_steps_have_the_same_gradients(backbone: str) -> None:
    """And the loss on the memory alone reaches the text that was read."""
    answerer = answerer_with_head(backbone)
    ids_BN, answers_B, *told = given_facts(4 * answerer.segment_tokens - 5, answerer.segment_tokens)
    inputs = ids_BN, answers_B, None, None, None, *told
    assert can_capture(answerer)
    found = []
    for recompute, capture in ((False, None), (True, None), (False, StandInCapture())):
        answerer.rmt.config.checkpoint_segments = recompute
        answerer.train()
        found.append(gradients_of(answerer, inputs, capture))
    for grads in found[1:]:
        assert grads.keys() == found[0].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, found[0][name], rtol=1e-5, atol=1e-7)
    assert {"fact_head.weight", "fact_head.bias"} <= found[0].keys()
    plain = gradients_of(answerer, inputs[:3], None)
    assert not plain["fact_head.weight"].any()
    moved = [name for name, grad in plain.items() if not torch.equal(grad, found[0][name])]
    assert any("word" in name or "embed" in name for name in moved), moved


def gradients_of(
    answerer: Answerer, inputs: tuple[Any, ...], capture: Capture | None
) -> dict[str, torch.Tensor]:
    gradients = Gradients(answerer, torch.autograd.backward, capture=capture)
    for _ in range(2):
        torch.manual_seed(3)
        gradients(*inputs)
    named = answerer.named_parameters()
    return {name: one.grad.clone() for name, one in named if one.grad is not None}


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("backbone", KINDS)
def test_captured_steps_on_a_gpu_are_the_eager_ones(backbone: str) -> None:
    answerer = answerer_with_head(backbone).cuda().train()
    for module in answerer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ids_BN, answers_B, *told = (one.cuda() for one in given_facts(4 * 12 - 5, 12))
    inputs = ids_BN, answers_B, None, None, None, *told
    eager, captured = (gradients_of(answerer, inputs, how) for how in (None, GraphCapture()))
    assert eager["fact_head.weight"].any()
    for name, grad in captured.items():
        torch.testing.assert_close(grad, eager[name], rtol=1e-3, atol=1e-5)


def outcomes(folder: Path) -> list[tuple[object, ...]]:
    return [one.outcome() for one in read_metrics(folder / METRICS)]


@pytest.fixture(scope="module")
def weighted(background: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings that differ in the weight alone, in folders of its name, to a burn-in."""
    folder = tmp_path_factory.mktemp("weighted")
    for weight in (0.0, 1e-300, 1.0, 50.0):
        settings = reasoning(background, told_weight=weight, **SHORT)
        assert train(settings, folder / f"{weight:g}", device="cpu").finished
    return folder


def test_nothing_else_that_is_drawn_changes(background: Path, weighted: Path) -> None:
    """Of a weight that rounds to nothing the losses and checkpoints are those of 0, to the bit; and
    with 0 the model has no weight but those of an RMT."""
    settings = reasoning(background, told_weight=0.0)
    none, least = (read_metrics(weighted / name / METRICS) for name in ("0", "1e-300"))
    assert [replace(one, told_loss=None).outcome() for one in least] == [
        one.outcome() for one in none
    ]
    assert all(one.told_loss is None for one in none)
    assert any(one.told_loss is not None for one in least)
    ours, theirs = (load_checkpoint(weighted / name / LAST).answerer for name in ("0", "1e-300"))
    assert [name for name, _ in ours.named_parameters()] == [
        f"rmt.{name}" for name, _ in ours.rmt.named_parameters()
    ]
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    learner = MemoryObjective(settings).learner
    assert {name for name, _ in learner.named_parameters()} == {
        name for name, _ in ours.named_parameters()
    }
    before = torch.get_rng_state()
    first, second, third = (FactHead(8, (1, 5), 1.0, seed) for seed in (3, 3, 4))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, third.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_of_the_task_is_reported_apart(
    rmtscale: Command, background: Path, weighted: Path, tmp_path: Path
) -> None:
    """Before any step has moved a weight it is the loss of a training without a head, to the bit;
    the other is that of a head that knows nothing, whatever its weight."""
    settings = reasoning(background, **SHORT)
    plain, once, much = (read_metrics(weighted / name / METRICS) for name in ("0", "1", "50"))
    assert once[0].loss == much[0].loss == plain[0].loss
    assert [one.loss for one in much] != [one.loss for one in plain]
    facts = len(MemoryObjective(settings).data.task.all_facts())
    assert once[0].told_loss == much[0].told_loss == pytest.approx(math.log(facts), rel=0.03)
    assert not any(one.told_loss for one in plain)
    behind = [one for one in once if "burn-in" in one.stage_name]
    assert any(one.told_loss is None for one in behind), "behind a burn-in nothing is told"
    assert all(one.told_loss for one in once if one not in behind)
    given = ["train", "--out", str(weighted / "1"), "--steps", "17", "--device", "cpu"]
    done = rmtscale(*given)
    assert done.code == 0, done.err
    last = read_metrics(weighted / "1" / METRICS)[-1]
    told = (
        "" if last.told_loss is None else f" (of what memory tells {format_loss(last.told_loss)})"
    )
    assert f"loss {format_loss(last.loss)}{told}, accuracy" in done.err
    # A line of before has none, and a loss that is no number ends the training.
    line = json.loads((weighted / "1" / METRICS).read_text().splitlines()[0])
    del line["told_loss"]
    old = tmp_path / METRICS
    old.write_text(json.dumps(line) + "\n")
    assert read_metrics(old)[0].told_loss is None
    with pytest.raises(CheckFailed, match="loss is not finite"):
        train(replace(settings, told_weight=1e39), tmp_path / "much", device="cpu")


def test_a_training_that_stops_goes_on_alike_and_leaves_no_head(
    rmtscale: Command, background: Path, tmp_path: Path
) -> None:
    settings = reasoning(background, backbone="bert-tiny", stage_max_steps=4)
    whole, part = demand_both_ends(settings, tmp_path)
    assert outcomes(part) == outcomes(whole)
    told = read_metrics(whole / METRICS)
    assert any("burn-in" in one.stage_name for one in told)
    assert any(one.told_loss for one in told)
    with pytest.raises(BadInput, match=r"told weight 0\.0: the training in"):
        train(replace(settings, told_weight=0.0), part, device="cpu")
    for name in (BEST, LAST):
        one, other = (load_checkpoint(folder / name) for folder in (whole, part))
        assert one.answerer.fact_head is None
        numbers = sum(weight.numel() for weight in one.answerer.rmt.parameters())
        assert one.trained.parameters == one.trained.trainable_parameters == numbers
        for own, others in zip(one.answerer.parameters(), other.answerer.parameters(), strict=True):
            assert torch.equal(own, others)
        with safe_open(whole / name / "model.safetensors", framework="pt") as file:
            assert not [key for key in file.keys() if "fact_head" in key]  # noqa: SIM118
    given = [str(whole / BEST), "--background", str(background), "--device", "cpu"]
    given += "--segments 1,2 --samples 4 --batch-size 2 --format json".split()
    done = rmtscale("evaluate", *given)
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["rows"]) == 2
    # What begins with it begins with a head of its own, or with none.
    for weight in (WEIGHT, 0.0):
        begun = replace(settings, init_from=str(whole / LAST), told_weight=weight, steps=4)
        learner = MemoryObjective(begun).learner
        kept = load_checkpoint(whole / LAST).answerer.rmt
        for own, others in zip(learner.rmt.parameters(), kept.parameters(), strict=True):
            assert torch.equal(own, others)
        if weight:
            assert learner.fact_head is not None
            anew = MemoryObjective(settings).learner.fact_head
            assert anew is not None
            assert torch.equal(learner.fact_head.weight, anew.weight)
        assert train(begun, tmp_path / f"begun-{weight}", device="cpu").finished


def test_the_ema_has_a_head_of_its_own(background: Path) -> None:
    made = MemoryObjective(reasoning(background))
    ema = made.ema_copy()
    ours, theirs = (dict(one.named_parameters()) for one in (made.learner, ema))
    assert ours.keys() == theirs.keys()
    assert {"fact_head.weight", "fact_head.bias"} < ours.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name])
        assert weight.data_ptr() != theirs[name].data_ptr()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"told_weight": -0.5}, r"told weight -0\.5: expected a number of 0 or more"),
        ({"told_weight": math.nan}, r"told weight nan: expected a number of 0 or more"),
        ({"told_weight": math.inf}, r"told weight inf: expected a number of 0 or more"),
        ({"memory_tokens": 0}, r"told weight 0\.7 without memory tokens: expected 0"),
    ],
)
def test_settings_that_are_refused(background: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        reasoning(background, **values)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("babilong", {"stories": "qa4"}),
        ("babilong", {"stories": "qa2,qa5"}),
        ("memorize", {"placement": "ordered"}),
    ],
)
def test_facts_that_may_end_are_refused(
    background: Path, task: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any story is drawn and any model made."""
    for taken, name in ((babilong, "load_pool"), (objective, "build_rmt")):
        monkeypatch.setattr(taken, name, lambda *_: pytest.fail("takes long"))
    settings = reasoning(background, task=task, task_options=options, segment_size=96)
    with pytest.raises(BadInput, match=f"told weight 0.7 of task '{task}': expected 0, its facts"):
        MemoryObjective(settings)


@pytest.mark.parametrize("layout", [{"shard": "fsdp2"}, {"tp": 2}])
def test_weights_that_are_cut_are_refused(background: Path, layout: dict[str, Any]) -> None:
    cutter = Cutter(training_layout(2, **layout), CPU, 0)
    with pytest.raises(BadInput, match=r"told weight 0\.7 with weights that are cut: expected 0"):
        cutter.cut(MemoryObjective(reasoning(background)).learner)


def test_the_command_takes_it(rmtscale: Command, background: Path, tmp_path: Path) -> None:
    given = ["train", "--task", "babilong", "--background", str(background), "--device", "cpu"]
    given += ["--stories", "qa5", "--set", "told_weight=1", "--out", str(tmp_path / "run")]
    done = rmtscale(*given)
    assert done.code == 2
    assert "told weight 1" in done.err
