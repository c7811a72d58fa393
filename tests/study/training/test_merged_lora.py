"""LoRA merged into the weights: the same model but for rounding, followed as it is trained."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt.peft_layers import (
    is_merged,
    layers_of,
    merge,
    merge_anew,
    set_switches,
    switches_of,
)
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.widths import ACCURACY, CHANGES, WidthStore
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.layout import BEST
from rmtscale.study.training.loop import train
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.objective import MemoryObjective
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.metrics import read_metrics
from rmtscale.study.training.share import Share
from tests.command_line import Command
from tests.study.training.test_training_pretrained import save_model
from tests.tiny_training import tiny_settings, write_background

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone") / str(request.param)
    save_model(folder, str(request.param))
    return folder


def adapted(background: Path, backbone: Path, **values: Any) -> Answerer:
    """An RMT whose LoRA adds something, in fp64."""
    settings = tiny_settings(background, backbone=str(backbone), lora_rank=4, **values)
    answerer = MemoryObjective(settings).learner.double().eval()
    draw_lora(answerer, 0)
    return answerer


def draw_lora(answerer: Answerer, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in answerer.named_parameters():
            if "lora_" in name or "initial" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=random))


def read(answerer: Answerer, tokens: int = 50) -> torch.Tensor:
    ids = torch.from_numpy(np.random.default_rng(1).integers(4, 30, (3, tokens)))
    with torch.no_grad():
        return answerer.read(ids)[0]


def expected_weights(answerer: Answerer) -> list[torch.Tensor]:
    """W + scale B A of each layer, one number at a time."""
    found = []
    for layer in layers_of(answerer.rmt):
        if not hasattr(layer, "lora_A"):
            continue  # a head that is trained whole
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        weight = layer.base_layer.weight.detach().clone()
        turned = tuple(weight.shape) != (up.shape[0], down.shape[1]) or layer.fan_in_fan_out
        for row in range(up.shape[0]):
            for column in range(down.shape[1]):
                added = 2 * sum(
                    up[row, rank].item() * down[rank, column].item() for rank in range(4)
                )
                where = (column, row) if turned else (row, column)
                weight[where] += added
        found.append(weight)
    return found


def test_a_merged_model_is_the_sum(background: Path, backbone: Path) -> None:
    answerer = adapted(background, backbone)
    before, expected = read(answerer), expected_weights(answerer)
    plain = copy.deepcopy(answerer)
    for layer in layers_of(plain.rmt):
        layer.enable_adapters(False)
    assert not torch.allclose(read(plain), before)  # LoRA matters here
    assert not is_merged(answerer.rmt)
    merge(answerer.rmt)
    assert is_merged(answerer.rmt)
    merge(answerer.rmt)  # once is enough
    switches = switches_of(answerer.rmt)
    assert switches == {"active": ["default"], "merged": ["default"], "off": False}
    for layer in layers_of(answerer.rmt):
        if hasattr(layer, "lora_A"):
            layer.merged_adapters = []
    set_switches(answerer.rmt, switches)
    merged = [
        layer.base_layer.weight for layer in layers_of(answerer.rmt) if hasattr(layer, "lora_A")
    ]
    assert len(merged) == len(expected) >= 6
    for found, wanted in zip(merged, expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted)
    torch.testing.assert_close(read(answerer), before)


def test_a_copy_follows_its_source_in_place(background: Path, backbone: Path) -> None:
    source = adapted(background, backbone)
    merged = copy.deepcopy(source)
    where = [weight.data_ptr() for weight in merged.parameters()]
    for seed in (1, 2, 3):
        draw_lora(source, seed)
        merge_anew(merged.rmt, source.rmt)
        torch.testing.assert_close(read(merged), read(source))
        assert not is_merged(source.rmt)
    assert [weight.data_ptr() for weight in merged.parameters()] == where
    # What is merged anew is the sum of the source's numbers, not of what was merged before.
    once = copy.deepcopy(source)
    merge(once.rmt)
    for found, wanted in zip(merged.parameters(), once.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_burn_ins_and_validations_are_read_with_the_weights_of_now(
    background: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_merged, measured = [], Reader.accuracy

    def accuracy(self: Reader, batches: Batches, samples: int, share: Share) -> float:
        read_merged.append(is_merged(self.answerer.rmt))
        return measured(self, batches, samples, share)

    monkeypatch.setattr(Reader, "accuracy", accuracy)
    values = {"lora_rank": 4, "replay_lost": True, "memory_tokens": 3}
    plain = MemoryObjective(tiny_settings(background, backbone=str(backbone), **values))
    merges = MemoryObjective(replace(plain.settings, merge_lora=True))
    stage = next(i for i, one in enumerate(plain.stages) if one.burn_in_segments)
    step = next(step for step in range(100) if plain.batch(step, stage).constant)  # with a burn-in
    states: list[torch.Tensor] = []
    for seed in (1, 2):
        for objective in (plain, merges):
            draw_lora(objective.learner, seed)
        ids, answers, state, *_ = plain.inputs(plain.batch(step, stage), CPU)
        other_ids, other_answers, other_state, *_ = merges.inputs(merges.batch(step, stage), CPU)
        assert torch.equal(ids, other_ids)
        assert torch.equal(answers, other_answers)
        torch.testing.assert_close(state, other_state, rtol=1e-3, atol=1e-4)
        states.append(state)
        assert merges.learner.training
        assert not is_merged(merges.learner.rmt)
    assert not torch.allclose(states[0], states[1], rtol=1e-3, atol=1e-4)  # the copy has followed
    emas = [objective.ema_copy().eval() for objective in (plain, merges)]
    found = [
        objective.validate(ema, plain.stages[stage], CPU)
        for objective, ema in zip((plain, merges), emas, strict=True)
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2
    assert read_merged == [False, False, True, True]
    assert not is_merged(emas[1].rmt)


def test_without_lora_there_is_nothing_to_merge(background: Path, backbone: Path) -> None:
    with pytest.raises(BadInput, match="merge LoRA without a lora rank: expected both or neither"):
        tiny_settings(background, backbone=str(backbone), merge_lora=True)


def test_train_and_evaluate_merged(
    rmtscale: Command, background: Path, backbone: Path, tmp_path: Path
) -> None:
    """The losses are those of a training that does not merge; records tell the two apart."""
    losses = []
    for merges in (False, True):
        settings = tiny_settings(
            background,
            backbone=str(backbone),
            lora_rank=4,
            merge_lora=merges,
            steps=12,
            burn_in=(4,),
            segments=1,
            start_tokens=(),
            stage_min_steps=1,
            stage_max_steps=2,
            burn_in_share=1.0,
            log_every=2,
            validate_every=12,
        )
        run = tmp_path / str(merges)
        assert train(settings, run, device="cpu").finished
        losses.append([row.loss for row in read_metrics(run / "metrics.jsonl")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    folder, out = tmp_path / "True" / BEST, tmp_path / "records.jsonl"
    words = ["evaluate", str(folder), "--backbone", str(backbone), "--segments", "1,2"]
    words += ["--samples", "6", "--background", str(background), "--out", str(out)]
    for more in ([], ["--merge-lora"]):
        done = rmtscale(*words, *more)
        assert done.code == 0, done.err
    records = EvaluationStore(out).read().records
    assert [(one.point.segments, one.point.merged_lora) for one in records] == [
        (1, False),
        (2, False),
        (1, True),
        (2, True),
    ]
    assert [one.correct for one in records[:2]] == [one.correct for one in records[2:]]
    assert out.read_text().count("merged_lora") == 2  # older records stay the lines that they were
    assert rmtscale(*words, "--merge-lora").err.count("(in the file already)") == 2
    check_widths(rmtscale, folder, backbone, background)


def check_widths(rmtscale: Command, folder: Path, backbone: Path, background: Path) -> None:
    """A dead band is chosen in both ways with LoRA merged and beside the weights."""
    given = ["dead-band", str(folder), "--backbone", str(backbone), "--background", str(background)]
    changes = ["--segments", "7", "--samples", "2"]
    accuracy = ["--by", "accuracy", "--segments", "1", "--samples", "4", "--widths", "0.3"]
    for way, sizes in {CHANGES: changes, ACCURACY: accuracy}.items():
        out = folder / f"{way}.jsonl"
        for more in ([], ["--merge-lora"]):
            done = rmtscale(*given, *sizes, *more, "--out", str(out))
            # So few steps may leave nothing between noise and facts.
            assert done.code == 0 or "no multiple of 0.05 lies above" in done.err
            if done.code == 0:
                use = " ".join(
                    ["rmtscale evaluate", str(folder), "--backbone", str(backbone), *more]
                )
                assert done.out.splitlines()[-1].startswith(f"use it with: {use}")
        records = WidthStore(out).read().records
        merged = [record.point.merged_lora for record in records]
        assert merged == [False] * (len(merged) // 2) + [True] * (len(merged) // 2)
        assert out.read_text().count("merged_lora") == len(merged) // 2
        for beside, added in zip(
            records[: len(merged) // 2], records[len(merged) // 2 :], strict=True
        ):
            assert beside.right == added.right
            if beside.changes is not None and added.changes is not None:
                np.testing.assert_allclose(
                    beside.changes.fact.quantiles, added.changes.fact.quantiles, rtol=1e-3
                )
        assert len(merged) == (2 if way == CHANGES else 4)


@pytest.mark.parametrize("command", ["evaluate", "dead-band"])
def test_a_checkpoint_without_lora_is_refused(
    rmtscale: Command, background: Path, tmp_path: Path, command: str
) -> None:
    settings = tiny_settings(background, steps=4, segments=1, burn_in=(), start_tokens=())
    assert train(settings, tmp_path / "run", device="cpu").finished
    folder = tmp_path / "run" / BEST
    done = rmtscale(command, str(folder), "--merge-lora", "--background", str(background))
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"error: merge LoRA of checkpoint {str(folder)!r}: expected one with LoRA, all weights of "
        "this one were trained"
    )
    assert not load_checkpoint(folder).answerer.rmt.training
