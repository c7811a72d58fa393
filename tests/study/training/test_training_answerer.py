"""The read-out is that of the RMT itself, and a burn-in passes no gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rmtscale.errors import BadInput
from rmtscale.rmt.segmenting import cut
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.task import PLACES
from rmtscale.study.tasks.vocabulary import SPECIALS, Vocabulary
from rmtscale.study.training.backbone import SIZES
from rmtscale.study.training.memory_tasks.backbone import build_rmt
from rmtscale.study.training.memory_tasks.data import TaskData, class_ids
from rmtscale.study.training.memory_tasks.model import Answerer
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings
from rmtscale.study.training.rolling import Roller

VOCABULARY, CLASSES = 40, [5, 6, 7, 8, 9, 10]
KINDS = ["gpt-neox-tiny", "gpt2-tiny", "bert-tiny", "modernbert-tiny"]


def build(backbone: str = "gpt-neox-tiny", **more: Any) -> Answerer:
    settings = MemoryTaskSettings(backbone=backbone, segment_size=16, memory_tokens=2, **more)
    answerer = Answerer(build_rmt(settings, VOCABULARY, 6), CLASSES)
    for parameter in answerer.parameters():  # larger than 0.02, so that differences can be seen
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return answerer.eval()


def ids(tokens: int, batch: int = 3) -> torch.Tensor:
    return torch.randint(4, VOCABULARY, (batch, tokens), dtype=torch.int32)


@pytest.mark.parametrize("backbone", KINDS)
def test_logits_are_those_of_the_rmt(backbone: str) -> None:
    answerer = build(backbone)
    tokens = 2 * answerer.segment_tokens + 5
    given = ids(tokens)
    logits_BC, state_BME = answerer.read(given)
    out = answerer.rmt(given)
    whole = out.logits[:, -1][:, CLASSES] if answerer.decoder else out.logits
    torch.testing.assert_close(logits_BC, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state_BME, out.memory, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_the_loss_is_the_mean_over_all_questions(whole: bool) -> None:
    """Each answer is read where its question ends, in whatever segment that is."""
    answerer = build()
    answerer.whole_vocabulary = whole
    tokens = 2 * answerer.segment_tokens + 5
    given, last = ids(tokens), tokens - 1
    columns = torch.tensor([[0, 6, last], [4, 4, last], [13, answerer.segment_tokens, last]])
    answers = torch.tensor([[2, 5, 0], [-1, -1, 3], [1, 4, 5]])
    loss, correct = answerer(given, answers[:, -1], None, columns, answers)
    logits = answerer.rmt(given, keep_logits="all").logits
    asked = answers >= 0
    read = torch.stack([row[at] for row, at in zip(logits, columns, strict=True)])[asked]
    ids_C = torch.tensor(CLASSES)
    targets = answers[asked]
    expected = F.cross_entropy(read, ids_C[targets]) if whole else None
    if expected is None:
        expected = F.cross_entropy(read[:, ids_C], targets)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    plain, plain_correct = answerer(given, answers[:, -1])
    assert correct == plain_correct
    one, _ = answerer(given, answers[:, -1], None, columns[:, -1:], answers[:, -1:])
    torch.testing.assert_close(one, plain, rtol=1e-6, atol=1e-6)


def test_every_size_can_be_built() -> None:
    for name in SIZES:
        settings = MemoryTaskSettings(backbone=name, segment_size=32, memory_tokens=2)
        rmt = build_rmt(settings, VOCABULARY, 6)
        assert rmt.config.segment_size == 32
        assert rmt.vocabulary == VOCABULARY


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "bert-tiny"])
def test_weights_are_drawn_at_the_scale_that_is_asked_for(backbone: str) -> None:
    """Memory and all; heads of encoders and last projections may be drawn smaller or larger."""
    for wanted in (0.02, 0.1):
        settings = MemoryTaskSettings(
            backbone=backbone, segment_size=32, memory_tokens=8, initializer_range=wanted
        )
        rmt = build_rmt(settings, VOCABULARY, 6)
        stds = [x.std().item() for x in rmt.parameters() if x.ndim > 1 and min(x.shape) > 6]
        assert len(stds) > 4
        assert sum(abs(std / wanted - 1) < 0.15 for std in stds) > len(stds) / 2, stds


def test_small_ones_fit_in_4_mb() -> None:
    for name in SIZES:
        if not name.endswith(("tiny", "text")):
            settings = MemoryTaskSettings(backbone=name)
            rmt = build_rmt(settings, settings.vocabulary_words, 6)
            assert sum(p.numel() for p in rmt.parameters()) * 2 <= 4_000_000, name


def burned_in(answerer: Answerer, given: torch.Tensor, segments: int) -> torch.Tensor:
    bounds = cut(given.shape[1], answerer.segment_tokens)[:segments]
    with torch.no_grad():
        initial = answerer.initial(len(given))
    return Roller(answerer, torch.device("cpu")).roll(initial, given.numpy(), bounds)


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "bert-tiny"])
def test_what_follows_a_state_is_read_as_if_all_had_been(backbone: str) -> None:
    answerer = build(backbone)
    given = ids(5 * answerer.segment_tokens)
    answers = torch.tensor([0, 3, 5])
    whole, _ = answerer(given, answers)
    state, last = burned_in(answerer, given, 3), given[:, 3 * answerer.segment_tokens :]
    assert not state.requires_grad
    after_burn_in, _ = answerer(last, answers, state)
    torch.testing.assert_close(after_burn_in, whole, rtol=1e-5, atol=1e-6)
    # The gradient is that of the last two segments, begun with a state that is data.
    after_burn_in.backward()
    got = {name: p.grad for name, p in answerer.named_parameters() if p.grad is not None}
    answerer.zero_grad()
    out = answerer.rmt(last, memory=state)
    logits = out.logits[:, -1][:, CLASSES] if answerer.decoder else out.logits
    torch.autograd.backward(F.cross_entropy(logits, answers))
    assert answerer.rmt.memory.initial_ME is not None
    assert answerer.rmt.memory.initial_ME.grad is None
    assert "rmt.memory.initial_ME" not in got
    for name, parameter in answerer.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(got[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_recomputed_segments_have_the_same_gradients() -> None:
    plain, given = build(), ids(60)
    answers = torch.tensor([0, 3, 5])
    grads = []
    for recompute in (False, True):
        plain.rmt.config.checkpoint_segments = recompute
        plain.train().zero_grad()
        plain(given, answers)[0].backward()
        parameters = dict(plain.named_parameters())
        grads.append({name: p.grad.clone() for name, p in parameters.items() if p.grad is not None})
        assert grads[-1].keys() == parameters.keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_answers_that_begin_alike_are_refused() -> None:
    """A vocabulary that lacks two of them has one id for both: said before anything takes long."""
    settings = MemoryTaskSettings(backbone="gpt-neox-tiny", segment_size=16, memory_tokens=2)
    words = make_task("memorize").words()
    whole = class_ids(TaskData(settings, Vocabulary([*SPECIALS, *words])))
    assert [words[index - len(SPECIALS)] for index in whole] == list(PLACES)
    fewer = [word for word in words if word not in ("garden", "kitchen")]
    data = TaskData(settings, Vocabulary([*SPECIALS, *fewer]))
    with pytest.raises(BadInput, match="answers 'garden' and 'kitchen' begin with the same token"):
        class_ids(data)


def test_the_number_of_right_answers() -> None:
    answerer = build()
    given = ids(20)
    chosen = answerer.read(given)[0].argmax(1)
    loss, correct = answerer(given, chosen)
    assert int(correct) == 3
    assert int(answerer(given, (chosen + 1) % 6)[1]) == 0
    assert loss.ndim == 0
