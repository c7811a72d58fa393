"""generate() against recomputing everything for every token, and Transformers' settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt.generation_settings import FOLLOWED, NEUTRAL
from tests.grids import covering
from tests.rmt.tiny_models import DECODERS, VOCABULARY, backbone, padded, tokens


def make(kind: str = "gpt2", memory: int = 2, size: int = 8) -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(
        backbone(kind), RMTConfig(size, memory, alignment="left")
    ).eval()
    return model


def recomputed(
    model: RMTForCausalLM, ids: torch.Tensor, count: int, memory: torch.Tensor | None = None
) -> torch.Tensor:
    """Argmax of a full forward pass, again for every token."""
    for _ in range(count):
        logits = model(ids, memory=memory, keep_logits="last").logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids


@pytest.mark.parametrize(("kind", "prompt"), covering(DECODERS, [1, 3, 4, 5, 8, 9]))
def test_greedy_equals_full_recomputation_through_many_segments(
    exact: None, kind: str, prompt: int
) -> None:
    model, ids = make(kind), tokens(2, prompt)
    made = model.generate(ids, max_new_tokens=14, eos_token_id=None)
    assert torch.equal(made, recomputed(model, ids, 14))


def test_without_memory_and_from_a_memory() -> None:
    ids = tokens(1, 3)
    plain = make(memory=0, size=4)
    assert torch.equal(
        plain.generate(ids, max_new_tokens=9, eos_token_id=None), recomputed(plain, ids, 9)
    )
    model = make()
    memory = model(tokens(1, 9, seed=5)).memory
    made = model.generate(ids, memory=memory, max_new_tokens=9, eos_token_id=None)
    assert torch.equal(made, recomputed(model, ids, 9, memory))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize(("lengths", "columns"), [([9, 2, 9, 5], 9), ([9, 2, 9, 5], 11), ([7], 9)])
def test_padded_prompts_equal_one_by_one(lengths: list[int], columns: int, left: bool) -> None:
    model = make()
    ids, mask = padded(lengths, columns, left)
    made = model.generate(ids, mask, max_new_tokens=11, eos_token_id=None)
    assert torch.equal(made[:, :columns], ids)
    for row in range(len(lengths)):
        text = ids[row][mask[row].bool()][None]
        alone = recomputed(model, text, 11)[0, text.shape[1] :]
        assert torch.equal(made[row, columns:], alone), row


def test_it_stops_at_the_end_token_and_pads() -> None:
    model, ids = make(), tokens(2, 5)
    free = recomputed(model, ids, 12)
    end = int(free[0, 7])
    made = model.generate(ids, max_new_tokens=12, eos_token_id=end, pad_token_id=18)
    for row in range(2):
        text = free[row, 5:].tolist()
        stop = text.index(end) + 1 if end in text else 12
        assert made[row, 5 : 5 + stop].tolist() == text[:stop]
        assert all(token == 18 for token in made[row, 5 + stop :].tolist())
    longer = model.generate(
        ids[:1], max_new_tokens=12, eos_token_id=end, pad_token_id=18, min_new_tokens=6
    )
    assert end not in longer[0, 5:11].tolist()


def test_sampling_is_seeded_and_narrowed_by_transformers_own_warpers() -> None:
    model, ids = make(), tokens(1, 4)

    def sample(seed: int, **more: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        made: torch.Tensor = model.generate(
            ids, do_sample=True, generator=generator, max_new_tokens=10, eos_token_id=None, **more
        )
        return made

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    greedy = recomputed(model, ids, 10)
    assert torch.equal(sample(3, top_k=1), greedy)
    assert torch.equal(sample(4, top_p=1e-6), greedy)
    assert torch.equal(sample(5, temperature=1e-6), greedy)
    assert not torch.equal(sample(6, temperature=5.0), greedy)


def test_a_sample_follows_the_distribution() -> None:
    """First token of 4000 samples against the softmax at temperature 2 over the best 3."""
    model, prompt = make(), tokens(1, 6)
    logits = model(prompt).logits[0, 0] / 2.0
    best = logits.topk(3).indices
    odds = torch.zeros(VOCABULARY, dtype=torch.float64)
    odds[best] = torch.softmax(logits[best], -1)
    made = model.generate(
        prompt.expand(4000, -1),
        do_sample=True,
        temperature=2.0,
        top_k=3,
        max_new_tokens=1,
        generator=torch.Generator().manual_seed(0),
    )[:, -1]
    seen = torch.bincount(made, minlength=VOCABULARY) / 4000
    assert (seen - odds).abs().max() < 0.03
    assert set(made.tolist()) <= set(best.tolist())


def test_settings_come_from_the_backbone_and_can_be_replaced() -> None:
    model = make()
    model.backbone.generation_config = GenerationConfig(max_new_tokens=3, eos_token_id=None)
    assert model.generate(tokens(1, 4)).shape == (1, 7)
    assert model.generate(tokens(1, 4), max_new_tokens=5).shape == (1, 9)
    own = GenerationConfig(max_length=6)
    assert model.generate(tokens(1, 4), generation_config=own).shape == (1, 6)
    assert model.backbone.generation_config.max_new_tokens == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_beams": 4}, "generation setting num_beams 4: not supported; expected 1, one"),
        (
            {"assistant_model": 1},
            "'assistant_model': not one of GenerationConfig; expected none, ev",
        ),
        (
            {"prompt_lookup_num_tokens": 3},
            "prompt_lookup_num_tokens 3: not supported; .*speculative",
        ),
        ({"output_scores": True}, "output_scores True: expected return_dict_in_generate True"),
        ({"bad_words_ids": [[1]]}, "generation setting bad_words_ids"),
        ({"colour": 1}, "generation setting 'colour': not one of GenerationConfig"),
        ({"max_new_tokens": 0}, r"generation settings: .*max_new_tokens.*greater than 0"),
        ({"max_new_tokens": 1.5}, "max_new_tokens 1.5: expected a whole number"),
        ({"do_sample": True, "temperature": -1.0}, "generation settings: .*temperature"),
        ({"repetition_penalty": -1.0}, "generation settings: .*penalty"),
        ({"max_length": 4}, "max_length 4: expected room for 1 token or more after a prompt of 5"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make().generate(tokens(1, 5), **given)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(BadInput, match="model in training mode"):
        make().train().generate(tokens(1, 5))


PLAIN = {
    "bos_token_id": 3,
    "do_sample": False,
    "eos_token_id": 3,
    "max_length": 12,
    "max_new_tokens": 7,
    "min_p": 0.5,
    "output_logits": True,
    "output_scores": True,
    "pad_token_id": 3,
    "return_dict_in_generate": True,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.5,
}
"""Values of settings that are followed; those that need sampling do nothing without."""
OTHERS: dict[str, Any] = {
    "bad_words_ids": [[1]],
    "cache_implementation": "static",
    "constraints": [1],
    "dola_layers": "low",
    "early_stopping": "never",
    "exponential_decay_length_penalty": (2, 1.5),
    "force_words_ids": [[1]],
    "num_assistant_tokens_schedule": "heuristic",
    "sequence_bias": {(1,): 2.0},
    "speculation_type": "ngram",
    "stop_strings": ["a"],
    "use_cache": False,
}
"""Values that mean something, where a number does not."""


@pytest.mark.parametrize("name", sorted(x for x in vars(GenerationConfig()) if x[0] != "_"))
def test_every_field_of_generation_config_is_followed_or_refused(name: str) -> None:
    """At its default it is accepted; at another value it has an effect or is refused by name."""
    model, ids = make(), tokens(2, 5)
    base: dict[str, Any] = {"max_new_tokens": 14, "eos_token_id": None}
    own = getattr(GenerationConfig(), name)
    plain = model.generate(ids, **{**base, name: base.get(name, own)})
    first = int(plain[0, 5])
    if name in PLAIN:
        model.generate(ids, **{**base, "return_dict_in_generate": True, name: PLAIN[name]})
        return
    values: list[Any] = [OTHERS.get(name, 2), True, 2.5]
    if name in {"suppress_tokens", "begin_suppress_tokens"}:
        values = [[first]]
    elif name in {"min_length", "min_new_tokens"}:
        values, base = [11], {**base, "eos_token_id": first}
        plain = model.generate(ids, **base)
    for value in values:
        if any(value == own and type(value) is type(own) for own in NEUTRAL.get(name, ())):
            continue
        made = outcome(model, ids, {**base, name: value})
        if isinstance(made, BadInput):
            assert name in str(made) or "generation settings" in str(made)
            assert "\n" not in str(made)
        elif name != "transformers_version":
            assert name in FOLLOWED
            assert made.shape != plain.shape or not torch.equal(made, plain)


def outcome(model: RMTForCausalLM, ids: torch.Tensor, given: dict[str, Any]) -> Any:
    try:
        return model.generate(ids, **given)
    except BadInput as error:
        return error


@pytest.mark.parametrize(
    "name",
    ["num_beams", "num_return_sequences", "length_penalty", "typical_p", "top_k", "temperature"],
)
def test_true_is_no_number(name: str) -> None:
    given: dict[str, Any] = {name: True}
    with pytest.raises(BadInput, match=f"{name} True|generation settings"):
        make().generate(tokens(1, 5), **given)


@pytest.mark.parametrize(
    ("embedded", "count", "memory"), covering([False, True], [1, 3, 4, 9], [0, 2], together=2)
)
def test_the_state_after_generate_is_that_of_reading_all_of_it(
    embedded: bool, count: int, memory: int
) -> None:
    model = make(memory=memory, size=4 + 2 * memory)
    ids, mask = padded([7, 3, 7, 4], 7, left=False)
    free = model.generate(ids, mask, max_new_tokens=9, eos_token_id=None)
    end = int(free[2, 8])
    text: dict[str, Any] = {"input_ids": ids}
    if embedded:
        text = {"inputs_embeds": model.get_input_embeddings()(ids)}
    out = model.generate(
        **text,
        attention_mask=mask,
        max_new_tokens=count,
        eos_token_id=end,
        pad_token_id=18,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    made = out.sequences if embedded else out.sequences[:, 7:]
    assert len(out.scores) == len(out.logits) == made.shape[1] <= count
    for row in range(4):
        new = made[row].tolist()
        new = new[: new.index(end) + 1] if end in new else new
        read = torch.cat([ids[row][mask[row].bool()], torch.tensor(new)])[None]
        wanted = model(read)
        assert (out.memory[row] - wanted.memory[0]).abs().max() < 1e-10 if memory else True
        for step, token in enumerate(new):
            assert int(out.scores[step][row].argmax()) == token
            before = model(read[:, : read.shape[1] - len(new) + step]).logits[0, 0]
            assert (out.logits[step][row] - before).abs().max() < 1e-10
    if not embedded:
        again = model.generate(tokens(4, 3), memory=out.memory, max_new_tokens=2)
        assert again.shape == (4, 5)
