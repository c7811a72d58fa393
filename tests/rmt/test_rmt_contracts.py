"""The trainer's protocol; every argument of every public method is followed, or one clear line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification, Stream
from tests.rmt.comparing import equal
from tests.rmt.tiny_models import ENCODERS, backbone, padded, tokens

Model = Any
LENGTHS = (13, 2, 9, 5)
SPLITS = [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[0, 1, 2], [3]], [[1], [0, 2, 3]]]


def decoder(**more: Any) -> Model:
    return RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2, **more)).eval()


def encoder(kind: str = "bert", **more: Any) -> Model:
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, **more)
    return RMTForSequenceClassification(backbone(kind), config).eval()


def gradients(model: Model, parts: list[dict[str, Any]], **more: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for part in parts:
        model(**part, **more).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("loss_on", ["all", "last"])
@pytest.mark.parametrize("depth", [None, 1, 2])
@pytest.mark.parametrize("what", ["labels", "shift_labels"])
def test_one_step_split_in_any_way_equals_one_batch(
    what: str, depth: int | None, loss_on: str
) -> None:
    model = decoder(bptt_segments=depth, loss_on=loss_on)
    ids, mask = padded(LENGTHS, 13, left=False)
    labels = ids.masked_fill(mask == 0, -100)
    items = int(((labels if what == "shift_labels" else labels[:, 1:]) != -100).sum())
    found = [
        gradients(
            model,
            [
                {"input_ids": ids[rows], "attention_mask": mask[rows], what: labels[rows]}
                for rows in split
            ],
            num_items_in_batch=torch.tensor(items),
        )
        for split in SPLITS
    ]
    for other in found[1:]:
        for name, gradient in found[0].items():
            assert (gradient - other[name]).abs().max() < 1e-12, name
    # And the whole is the mean that the model takes by itself, over its own number of labels.
    model.zero_grad()
    scaled = model(ids, mask, **{what: labels}, num_items_in_batch=items).loss
    alone = model(ids, mask, **{what: labels}).loss
    assert scaled <= alone
    if (what, loss_on) == ("labels", "all"):
        assert abs(float(scaled - alone)) < 1e-12


@pytest.mark.parametrize("labels", [3, 1])
def test_an_encoder_s_step_split_in_any_way_equals_one_batch(labels: int) -> None:
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, bptt_segments=1)
    model: Any = RMTForSequenceClassification(backbone("bert", labels=labels), config)
    ids, mask = padded(LENGTHS, 13, left=False)
    wanted = torch.arange(4) % 3 if labels > 1 else torch.randn(4, dtype=torch.float64)
    found = [
        gradients(
            model,
            [
                {"input_ids": ids[rows], "attention_mask": mask[rows], "labels": wanted[rows]}
                for rows in split
            ],
            num_items_in_batch=4,
        )
        for split in SPLITS
    ]
    found.append(gradients(model, [{"input_ids": ids, "attention_mask": mask, "labels": wanted}]))
    for other in found[1:]:
        for name, gradient in found[0].items():
            assert (gradient - other[name]).abs().max() < 1e-12, name


def test_shifted_labels_are_the_labels_shifted() -> None:
    model, ids = decoder(), tokens(2, 13)
    shifted = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)
    assert equal(model(ids, shift_labels=shifted).loss, model(ids, labels=ids).loss)
    loose = torch.stack(list(model.window_losses(ids, shift_labels=shifted))).sum()
    assert equal(loose, model(ids, labels=ids).loss)


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)

    def column(fill: int, make: Callable[[list[int]], list[int]]) -> torch.Tensor:
        values = [make(row["input_ids"]) for row in rows]
        return torch.tensor([x + [fill] * (longest - len(x)) for x in values])

    return {
        "input_ids": column(0, list),
        "labels": column(-100, list),
        "attention_mask": column(0, lambda ids: [1] * len(ids)),
    }


def collate_all(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """With what BERT's tokenizers return beside."""
    batch = collate(rows)
    return {**batch, "token_type_ids": torch.zeros_like(batch["input_ids"])}


def trained(model: Model, folder: Path, batch: int, smoothing: float) -> dict[str, torch.Tensor]:
    """Changes of one step of SGD, by parameter of the backbone."""
    inner: Any = getattr(model, "backbone", model)
    before = {name: p.detach().clone() for name, p in inner.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=2 // batch,
        label_smoothing_factor=smoothing,
        learning_rate=1.0,
        optim="sgd",
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    rows: Any = [{"input_ids": tokens(1, n)[0].tolist()} for n in (15, 4)]
    run = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=collate if inner is model else collate_all,
    )
    run.train()
    assert run.evaluate()["eval_loss"] > 0
    return {name: before[name] - p.detach() for name, p in inner.named_parameters()}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_under_trainer_it_steps_as_its_backbone_does(tmp_path: Path, smoothing: float) -> None:
    """Accumulated and in one batch, with and without label smoothing; one segment, no memory."""
    wanted = trained(backbone("llama", torch.float32), tmp_path, 2, smoothing)
    for batch, depth in ((1, 1), (2, None)) if smoothing else ((1, None), (2, 1)):
        inner = backbone("llama", torch.float32)
        model = RMTForCausalLM(inner, RMTConfig(16, 0, bptt_segments=depth))
        for name, change in trained(model, tmp_path, batch, smoothing).items():
            assert (change - wanted[name]).abs().max() < 1e-5, (batch, depth, name)


def calls(ids: torch.Tensor) -> dict[str, Callable[..., Any]]:
    """Every public method that reads text."""
    causal, classifier = decoder(), encoder()
    return {
        "forward": lambda **more: causal(ids, **more),
        "infer": lambda **more: causal.infer(ids, **more),
        "generate": lambda **more: causal.generate(ids, max_new_tokens=2, **more),
        "window_losses": lambda **more: list(causal.window_losses(ids, **more)),
        "classify": lambda **more: classifier(ids, **more),
    }


@pytest.mark.parametrize("name", ["forward", "infer", "generate", "window_losses", "classify"])
def test_what_a_tokenizer_returns_changes_nothing(name: str) -> None:
    ids = tokens(2, 11)
    call, plain = calls(ids)[name], calls(ids)[name]()
    more = {
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
        "special_tokens_mask": torch.zeros_like(ids),
        "offset_mapping": torch.zeros(2, 11, 2),
        "length": torch.tensor([11, 11]),
        "overflow_to_sample_mapping": torch.arange(2),
    }
    out = call(**more)
    if name == "window_losses":
        assert equal(torch.stack(out), torch.stack(plain))
    elif name == "generate":
        assert equal(out, plain)
    else:
        assert equal(out.logits, plain.logits)
        assert equal(out.memory, plain.memory)


UNKNOWN: dict[str, Any] = {
    "past_key_values": ((torch.zeros(1),),),
    "position_ids": torch.zeros(2, 11, dtype=torch.long),
    "cache_position": torch.arange(11),
    "token_type_ids": torch.ones(2, 11, dtype=torch.long),
    "head_mask": torch.ones(2),
    "encoder_hidden_states": torch.ones(2, 3, 8),
    "output_attentions": True,
    "output_hidden_states": True,
    "output_router_logits": True,
    "logits_to_keep": 1,
    "cu_seq_lens_q": torch.arange(3),
    "colour": "blue",
}


@pytest.mark.parametrize("name", ["forward", "infer", "generate", "window_losses", "classify"])
@pytest.mark.parametrize("argument", [*UNKNOWN, "use_cache"])
def test_an_argument_that_cannot_be_followed_is_one_line(name: str, argument: str) -> None:
    value = UNKNOWN.get(argument, name != "generate")
    with pytest.raises(BadInput, match=argument) as caught:
        calls(tokens(2, 11))[name](**{argument: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [decoder, encoder])
def test_more_output_asked_for_in_a_config_is_refused_too(make: Callable[[], Model]) -> None:
    model = make()
    model.config.backbone_config.output_hidden_states = True
    with pytest.raises(BadInput, match="output_hidden_states True in the config of the backbone"):
        model(tokens(2, 11))


def test_generate_takes_its_input_by_the_name_of_transformers() -> None:
    model, ids = decoder(), tokens(2, 11)
    more: dict[str, Any] = {"max_new_tokens": 3, "synced_gpus": False, "streamer": None}
    assert equal(model.generate(inputs=ids, **more), model.generate(ids, max_new_tokens=3))
    with pytest.raises(BadInput, match="'inputs': not one of GenerationConfig"):
        model.generate(ids, inputs=ids)


@pytest.mark.parametrize("lengths", [(11, 11), (11, 5)])
def test_embeddings_read_as_their_ids(lengths: tuple[int, int]) -> None:
    ids, mask = padded(lengths, 11, left=False)
    for model in (decoder(), decoder(bptt_segments=1), *(encoder(kind) for kind in ENCODERS)):
        causal = isinstance(model, RMTForCausalLM)
        labels = ids if causal else torch.tensor([0, 1])
        embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
        ours = model(inputs_embeds=embeds, attention_mask=mask, labels=labels)
        theirs = model(ids, mask, labels)
        for name, value in theirs.items():
            assert equal(getattr(ours, name), value), name
        ours.loss.backward()
        assert embeds.grad is not None
        assert embeds.grad[0].abs().sum() > 0
        if causal and lengths == (11, 11):
            out = model.infer(inputs_embeds=embeds)
            assert equal(out.memory, model.infer(ids).memory)
            assert equal(out.logits, model.infer(ids).logits)


def test_embeddings_that_do_not_fit_are_refused() -> None:
    ids, embeds = tokens(1, 5), torch.zeros(1, 5, 8, dtype=torch.float64)
    for model in (decoder(), encoder()):
        for given, message in (
            ({"input_ids": ids, "inputs_embeds": embeds}, "expected one of the two"),
            ({"inputs_embeds": embeds[..., :7]}, r"shape \(1, 5, 7\): expected \(batch, tokens, 8"),
            ({"inputs_embeds": embeds.float()}, "torch.float32: expected torch.float64"),
            ({"inputs_embeds": ids}, "torch.int64: expected"),
            ({}, "input_ids NoneType: expected a tensor"),
        ):
            with pytest.raises(BadInput, match=message):
                model(**given)


@pytest.mark.parametrize(
    ("name", "near"),
    [("memory_token", "memory_tokens"), ("bptt_segment", "bptt_segments"), ("num_labels", "")],
)
def test_a_config_refuses_names_it_does_not_know(name: str, near: str) -> None:
    make: Any = RMTConfig
    with pytest.raises(BadInput, match=f"RMTConfig has no '{name}': expected {near}"):
        make(8, 2, **{name: 3})


def test_auto_classes_load_a_saved_model(tmp_path: Path) -> None:
    for model, auto in (
        (decoder(), AutoModelForCausalLM),
        (encoder(), AutoModelForSequenceClassification),
    ):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        assert isinstance(AutoConfig.from_pretrained(folder), RMTConfig)
        other: Any = auto.from_pretrained(folder)
        assert type(other) is type(model)
        assert equal(other(tokens(2, 11)).memory, model(tokens(2, 11)).memory)
    with pytest.raises(BadInput, match="has no 'colour': expected dtype"):
        RMTForCausalLM.from_pretrained(tmp_path / "RMTForCausalLM", colour="blue")


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
def test_peft_around_an_rmt_trains_saves_and_says_what_it_froze(
    tmp_path: Path, task: str | None
) -> None:
    given: dict[str, Any] = {"r": 2, "target_modules": ["c_attn"], "task_type": task}
    ids = tokens(2, 11)
    frozen: Any = peft.get_peft_model(decoder(), peft.LoraConfig(**given))
    with pytest.warns(UserWarning, match=r"modules_to_save=\['memory'\] trains it"):
        frozen.train()(input_ids=ids, labels=ids)
    model: Any = peft.get_peft_model(
        decoder(), peft.LoraConfig(modules_to_save=["memory"], **given)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train()(input_ids=ids, labels=ids).loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    assert model.generate(input_ids=ids, max_new_tokens=2).shape == (2, 13)
    wanted = model(input_ids=ids).memory
    model.save_pretrained(tmp_path / "adapter")
    again: Any = peft.PeftModel.from_pretrained(decoder(), tmp_path / "adapter").eval()
    assert (again(input_ids=ids).memory - wanted).abs().max() < 1e-6
    model.get_base_model().save_pretrained(tmp_path / "whole")
    whole = RMTForCausalLM.from_pretrained(tmp_path / "whole").eval()
    assert (whole(ids).memory - wanted).abs().max() < 1e-12


def test_a_stream_takes_ids_only() -> None:
    with pytest.raises(BadInput, match=r"input_ids of torch.float64: expected"):
        Stream(decoder()).feed(torch.zeros(1, 5, 8, dtype=torch.float64))
