"""Trainer, accelerate, torch.compile, autocast, the meta device, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer, TrainingArguments

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.grids import covering
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens


def model_of(kind: str = "gpt2", dtype: torch.dtype = torch.float32, **more: Any) -> RMTForCausalLM:
    return RMTForCausalLM(backbone(kind, dtype), RMTConfig(8, 2, **more))


class Samples(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __init__(self, count: int = 8, classify: bool = False) -> None:
        ids = tokens(count, 13)
        self.rows = [{"input_ids": row, "labels": row[0] % 3 if classify else row} for row in ids]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[index]


def trainer(
    model: RMTForCausalLM | RMTForSequenceClassification, folder: Path, data: Samples, **more: Any
) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="steps",
        save_steps=2,
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )
    return Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)


@pytest.mark.parametrize("depth", [None, 1])
def test_trainer_trains_saves_and_evaluates(tmp_path: Path, depth: int | None) -> None:
    model = model_of(bptt_segments=depth)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = trainer(model, tmp_path, Samples())
    run.train()
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())
    other = RMTForCausalLM.from_pretrained(tmp_path / "checkpoint-2").eval()
    kept, trained = other.state_dict(), model.state_dict()
    assert all(torch.equal(kept[name], trained[name]) for name in trained)
    ids = tokens(1, 9)
    # Not bit for bit: a small matmul rounds by how its operands lie in memory.
    torch.testing.assert_close(other(ids).logits, model.eval()(ids).logits, rtol=1e-5, atol=1e-5)
    assert run.evaluate()["eval_loss"] > 0
    assert run.predict(Samples(4)).predictions.shape == (4, 1, 19)


def test_trainer_s_gradient_checkpointing_is_one_per_segment(tmp_path: Path) -> None:
    model = model_of()
    runs = []
    model.backbone.transformer.h[0].register_forward_hook(lambda *_: runs.append(1))
    trainer(model, tmp_path, Samples(), gradient_checkpointing=True).train()
    assert model.config.checkpoint_segments
    assert len(runs) == 2 * 2 * 4, "two steps of four segments, each run twice"
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_trainer_trains_an_encoder(tmp_path: Path) -> None:
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2)
    model = RMTForSequenceClassification(backbone("bert", torch.float32), config)
    run = trainer(model, tmp_path, Samples(classify=True))
    run.train()
    assert run.predict(Samples(4, classify=True)).predictions.shape == (4, 3)


def test_accelerate() -> None:
    accelerator = Accelerator(cpu=True)
    model = model_of(bptt_segments=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loader = torch.utils.data.DataLoader(Samples(), batch_size=2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for _ in range(4):
        for batch in loader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_torch_compile_of_the_whole_model() -> None:
    model, ids = model_of(), tokens(2, 12)
    model.backbone.transformer.h = model.backbone.transformer.h[:1]  # compiling takes the time
    compiled = torch.compile(model, backend="aot_eager")
    compiled(ids, labels=ids).loss.backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        assert (ours[name] - parameter.grad).abs().max() < 1e-5, name


@pytest.mark.parametrize(
    ("kind", "checkpoint", "dtype"),
    covering(DECODERS, [False, True], [torch.bfloat16, torch.float16]),
)
def test_autocast(kind: str, checkpoint: bool, dtype: torch.dtype) -> None:
    model, ids = model_of(kind, checkpoint_segments=checkpoint), tokens(2, 13)
    exact = model(ids, labels=ids).loss
    with torch.autocast("cpu", dtype):
        out = model(ids, labels=ids)
    out.loss.backward()
    assert abs(float(out.loss - exact)) < 0.05 * float(exact)
    assert out.memory.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.usefixtures("remembered_shapes")
@pytest.mark.parametrize("kind", DECODERS)
def test_flops_can_be_counted_on_the_meta_device(kind: str) -> None:
    counts = []
    for device in ("cpu", "meta"):
        model = model_of(kind).to(device)
        ids = tokens(1, 13).to(device)
        with FlopCounterMode(display=False) as counter:
            model(ids, labels=ids).loss.backward()
        counted = counter.get_flop_counts()["Global"]
        # Attention is a fused kernel on the CPU and two matmuls on the meta device.
        counts.append({str(op): n for op, n in counted.items() if op != torch.ops.aten.bmm})
        counts[-1] = {op: n for op, n in counts[-1].items() if "attention" not in op}
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) > 0


@pytest.mark.usefixtures("remembered_shapes")
@pytest.mark.parametrize(
    ("times", "more"),
    [
        (3, {}),
        (3, {"keep_logits": "none"}),
        (3, {"bptt_segments": 1}),
        (4, {"keep_logits": "none", "checkpoint_segments": True}),
        (4, {"keep_logits": "none", "checkpoint_segments": True, "bptt_segments": 2}),
    ],
)
def test_a_training_step_multiplies_exactly_this(times: int, more: dict[str, Any]) -> None:
    """Blocks at the true segment size, head at text tokens; backward twice, and with checkpoints
    the blocks once more."""
    with torch.device("meta"):
        inner = type(backbone("gpt2"))(backbone("gpt2").config)
    model = RMTForCausalLM(inner, RMTConfig(8, 2, **more)).train()
    ids = torch.zeros(1, 14, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(ids, labels=ids).loss.backward()
    blocks, head, width, layers = 0, 0, 8, 2
    for text in (2, 4, 4, 4):
        size = text + 4
        blocks += layers * (24 * size * width**2 + 4 * size**2 * width)
        head += 2 * text * width * 19
    # The state that enters an early segment is trained, the ids are not: all gradients exist.
    assert counter.get_total_flops() == times * blocks + 3 * head


def test_a_backbone_on_the_meta_device_is_wrapped_there() -> None:
    with torch.device("meta"):
        inner = type(backbone("gpt2"))(backbone("gpt2").config)
    model = RMTForCausalLM(inner, RMTConfig(8, 2, adapter_width=2))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    ids = torch.zeros(1, 9, dtype=torch.long, device="meta")
    model(ids, labels=ids).loss.backward()


def test_importing_rmtscale_does_not_import_this() -> None:
    code = "import rmtscale, sys; print('torch' in sys.modules, 'rmtscale.rmt' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_encoders_take_the_same_ways() -> None:
    for kind in ENCODERS:
        config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2)
        model = RMTForSequenceClassification(backbone(kind, torch.float32), config)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(tokens(2, 15), labels=torch.tensor([0, 1])).loss
        loss.backward()
        assert torch.isfinite(loss)
        meta = model.to("meta")
        assert meta(torch.zeros(2, 9, dtype=torch.long, device="meta")).logits.shape == (2, 3)
