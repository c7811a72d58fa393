"""Text of any length: segments are filled token by token and rolled over when they are full.

Shape legend: B batch, G rows of one group, N text columns of the input, L segment tokens,
M memory, E embedding width, V vocabulary.

Segments are filled from the left, as in a stream: the next token is what ``forward`` with
``alignment="left"`` on everything so far predicts. Inside a segment a key-value cache is used; its
write memory is read only when the segment is full, at its end.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rmtscale.errors import BadInput
from rmtscale.rmt.graph import require_evaluation
from rmtscale.rmt.open_segment import OpenSegment
from rmtscale.rmt.validation import (
    require_ids,
    require_memory,
    require_vocabulary,
    text_spans,
)

DEFAULT_NEW_TOKENS = 20
"""The default of Transformers, when neither ``max_new_tokens`` nor ``max_length`` is set."""
_USED = frozenset(
    {
        "max_length",
        "max_new_tokens",
        "min_new_tokens",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
    }
)
# Settings that change nothing here: bookkeeping, or a cache we have our own of.
_HARMLESS = frozenset(
    {
        "transformers_version",
        "use_cache",
        "cache_implementation",
        "cache_config",
        "return_dict_in_generate",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        "max_cache_len",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "assistant_confidence_threshold",
        "assistant_lookbehind",
        "target_lookbehind",
        "is_assistant",
        "disable_compile",
    }
)
_NEUTRAL = (None, False, 0, 0.0, 1, 1.0)


def settings(base: GenerationConfig | None, given: dict[str, Any]) -> GenerationConfig:
    """Merges the caller's settings into Transformers'.

    Raises:
        BadInput: a name Transformers does not know, or a setting that is not supported (beams).
    """
    config = copy.deepcopy(base) if base is not None else GenerationConfig()
    try:
        unknown = config.update(**given)
        processors(config)
    except (ValueError, TypeError) as error:
        raise BadInput(f"generation settings: {str(error).splitlines()[0]}") from error
    if unknown:
        raise BadInput(f"generation setting {sorted(unknown)[0]!r}: not one of GenerationConfig")
    for name, value in config.to_dict().items():
        if name in _USED or name in _HARMLESS or name.startswith("_"):
            continue
        if not isinstance(value, int | float | bool | None) or value not in _NEUTRAL:
            raise BadInput(
                f"generation setting {name} {value!r}: not supported; expected "
                f"{', '.join(sorted(_USED))}"
            )
    return config


def processors(config: GenerationConfig) -> LogitsProcessorList:
    """Returns Transformers' own processors for the settings, in its order. What is None is off."""
    chosen = LogitsProcessorList()
    if config.repetition_penalty not in (None, 1.0):
        chosen.append(RepetitionPenaltyLogitsProcessor(penalty=config.repetition_penalty))
    if config.no_repeat_ngram_size:
        chosen.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.do_sample:
        if config.temperature not in (None, 1.0):
            chosen.append(TemperatureLogitsWarper(config.temperature))
        if config.top_k:
            chosen.append(TopKLogitsWarper(top_k=config.top_k))
        if config.top_p is not None and config.top_p < 1.0:
            chosen.append(TopPLogitsWarper(top_p=config.top_p))
        if config.min_p is not None:
            chosen.append(MinPLogitsWarper(min_p=config.min_p))
    return chosen


def new_tokens(config: GenerationConfig, prompt: int) -> int:
    """Returns the largest number of tokens to make.

    Raises:
        BadInput: no room for one, or not a whole number.
    """
    for name in ("max_new_tokens", "max_length"):
        value = getattr(config, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise BadInput(f"{name} {value!r}: expected a whole number")
    if config.max_new_tokens is not None:
        count, name = int(config.max_new_tokens), "max_new_tokens"
    elif config.max_length is not None:
        count, name = int(config.max_length) - prompt, "max_length"
    else:
        return DEFAULT_NEW_TOKENS
    if count < 1:
        raise BadInput(
            f"{name} {getattr(config, name)}: expected room for 1 token or more after a prompt "
            f"of {prompt}"
        )
    return count


def _generate_group(
    model: Any,
    ids_GN: Tensor,
    state_GME: Tensor,
    config: GenerationConfig,
    *,
    count: int,
    pad: int,
    generator: torch.Generator | None,
) -> Tensor:
    """New tokens, (G, up to ``count``), of rows with prompts of one length."""
    size = model.segment_tokens
    # The last segment stays open even when it is full: its last token predicts the next one.
    closed = (ids_GN.shape[1] - 1) // size * size
    for start in range(0, closed, size):
        state_GME, _ = model.step(state_GME, ids_GN[:, start : start + size])
    segment = OpenSegment(model, state_GME)
    logits_GV = segment.read(ids_GN[:, closed:])
    choose = processors(config)
    ends = config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    end_E = torch.tensor(ends, dtype=torch.long, device=ids_GN.device)
    done_G = torch.zeros(ids_GN.shape[0], dtype=torch.bool, device=ids_GN.device)
    made: list[Tensor] = []
    all_GN = ids_GN
    while True:
        scores_GV = logits_GV.to(torch.promote_types(logits_GV.dtype, torch.float32), copy=True)
        if ends and len(made) < (config.min_new_tokens or 0):
            scores_GV[:, end_E] = float("-inf")
        scores_GV = choose(all_GN, scores_GV)
        if config.do_sample:
            odds_GV = torch.softmax(scores_GV, dim=-1)
            next_G = torch.multinomial(odds_GV, 1, generator=generator)[:, 0]
        else:
            next_G = scores_GV.argmax(dim=-1)
        next_G = next_G.masked_fill(done_G, pad)
        made.append(next_G)
        if ends:
            done_G = done_G | torch.isin(next_G, end_E)
        if len(made) == count or (ends and bool(done_G.all())):
            return torch.stack(made, dim=1)
        if choose:
            all_GN = torch.cat([all_GN, next_G[:, None]], dim=1)
        if segment.tokens == size:
            segment = OpenSegment(model, segment.close())
        logits_GV = segment.read(next_G[:, None])


@torch.no_grad()
def generate(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    memory: Tensor | None = None,
    *,
    generation_config: GenerationConfig | None = None,
    generator: torch.Generator | None = None,
    **given: Any,
) -> Tensor:
    """See ``RMTForCausalLM.generate``."""
    require_evaluation(model)
    ids_BN = require_ids(input_ids)
    batch, columns = ids_BN.shape
    weight = model.embedding_VE
    if memory is not None:
        require_memory(memory, batch, model.config.memory_tokens, weight)
    spans = text_spans(ids_BN, attention_mask)
    require_vocabulary(ids_BN, model.vocabulary)
    config = settings(
        generation_config or getattr(model.backbone, "generation_config", None), given
    )
    count = new_tokens(config, columns)
    ends = config.eos_token_id
    first_end = ends if isinstance(ends, int) or not ends else ends[0]
    pad = next((x for x in (config.pad_token_id, first_end) if x is not None), 0)

    state_BME = model.memory(weight, batch) if memory is None else memory
    made_BK = ids_BN.new_full((batch, count), pad)
    longest = 0
    # Rows with prompts of one length fill and roll over their segments together.
    for length in sorted(set(spans.lengths)):
        rows = [row for row in range(batch) if spans.lengths[row] == length]
        texts = [ids_BN[row, spans.offsets[row] : spans.offsets[row] + length] for row in rows]
        own_GK = _generate_group(
            model,
            torch.stack(texts),
            state_BME[rows],
            config,
            count=count,
            pad=pad,
            generator=generator,
        )
        made_BK[rows, : own_GK.shape[1]] = own_GK.to(made_BK.dtype)
        longest = max(longest, own_GK.shape[1])
    return torch.cat([ids_BN, made_BK[:, :longest]], dim=1)
