"""Settings of Transformers for generating text: each is followed, or refused by name.

A setting that is not followed has to have the value at which it does nothing, its own and not one
of a list for all: 0 is no penalty for one and no limit at all for another.
"""

from __future__ import annotations

import copy
from typing import Any

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

from rmtscale.errors import BadInput, reason_of

DEFAULT_NEW_TOKENS = 20
"""The default of Transformers, when neither ``max_new_tokens`` nor ``max_length`` is set."""
FOLLOWED = frozenset(
    {
        "max_length",
        "max_new_tokens",
        "min_length",
        "min_new_tokens",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "suppress_tokens",
        "begin_suppress_tokens",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "return_dict_in_generate",
        "output_scores",
        "output_logits",
    }
)
"""Settings that do here what they do in Transformers."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "assistant_confidence_threshold": (0.4,),
    "assistant_lookbehind": (10,),
    "disable_compile": (False, True),
    "diversity_penalty": (0.0,),
    "early_stopping": (False,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "guidance_scale": (1.0,),
    "is_assistant": (False,),
    "length_penalty": (1.0,),
    "low_memory": (False,),
    "num_assistant_tokens": (20,),
    "num_assistant_tokens_schedule": ("constant",),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "output_attentions": (False,),
    "output_hidden_states": (False,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "target_lookbehind": (10,),
    "token_healing": (False,),
    "typical_p": (1.0,),
    "use_cache": (True,),
    "use_mtp": (False,),
}
"""The values at which a setting that is not followed does nothing, besides None: all others only
have None. The open segment always has a cache, and nothing is ever compiled in it."""
_INSTEAD = {
    "max_time": "None, a number of tokens such as max_new_tokens",
    "num_beams": "1, one sequence is made for each prompt",
    "num_return_sequences": "1; repeat the prompt for more",
    "use_cache": "True, an open segment has a cache of its own",
    "cache_implementation": "None, an open segment has a cache of its own",
    "assistant_model": "none, every token is the model's own (no speculative decoding)",
    "prompt_lookup_num_tokens": "None, every token is the model's own (no speculative decoding)",
    "past_key_values": "memory, which is what is handed from call to call",
    "position_ids": "none, positions restart in every segment",
    "streamer": "rmtscale.rmt.Stream, or one token a call with the memory of the last",
}
_NUMBERS = (
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
)
_BOOKKEEPING = frozenset({"transformers_version"})


def settings(base: GenerationConfig | None, given: dict[str, Any]) -> GenerationConfig:
    """Merges the caller's settings into Transformers'.

    Raises:
        BadInput: a name Transformers does not know, or a setting that is not followed (beams) and
            has another value than that at which it does nothing.
    """
    config = copy.deepcopy(base) if base is not None else GenerationConfig()
    try:
        unknown = config.update(**given)
        _require_followable(config)
        processors(config)
    except BadInput:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"generation settings: {reason_of(error, 300)}") from error
    unknown = {name: x for name, x in unknown.items() if x is not None and x is not False}
    if unknown:
        name = min(unknown)
        instead = _INSTEAD.get(name)
        raise BadInput(
            f"generation setting {name!r}: not one of GenerationConfig"
            + ("" if instead is None else f"; expected {instead}")
        )
    for name, value in {**vars(config), **config.to_dict()}.items():
        if name in FOLLOWED or name in _BOOKKEEPING or name.startswith("_") or value is None:
            continue
        if not any(value == own and type(value) is type(own) for own in _neutral(name)):
            raise BadInput(
                f"generation setting {name} {_short(value)}: not supported; expected "
                f"{_INSTEAD.get(name) or ' or '.join(map(repr, (*NEUTRAL.get(name, ()), None)))}"
            )
    return config


def _neutral(name: str) -> tuple[Any, ...]:
    own = NEUTRAL.get(name, ())
    # A whole number may stand for the same number with a point, and the other way round.
    numbers = [x for x in own if isinstance(x, int | float) and not isinstance(x, bool)]
    return (*own, *(float(x) for x in numbers), *(int(x) for x in numbers if x == int(x)))


def _short(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."


def _require_followable(config: GenerationConfig) -> None:
    for name in _NUMBERS:
        value = getattr(config, name, None)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise BadInput(f"{name} {value!r}: expected a number")
    for name in ("output_scores", "output_logits"):
        if getattr(config, name) and not config.return_dict_in_generate:
            raise BadInput(f"{name} True: expected return_dict_in_generate True beside it")
    for name in ("return_dict_in_generate", "output_scores", "output_logits", "do_sample"):
        value = getattr(config, name)
        if not isinstance(value, bool | None):
            raise BadInput(f"{name} {value!r}: expected True or False")


def token_list(tokens: Any) -> list[int]:
    """Returns one token id, several, a tensor of them or None as a list."""
    if isinstance(tokens, Tensor):
        tokens = tokens.tolist()
    return [] if tokens is None else [tokens] if isinstance(tokens, int) else list(tokens)


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


def limit(scores_GV: Tensor, config: GenerationConfig, *, prompt: int, made: int) -> Tensor:
    """Takes out the tokens that may not be next: an early end, and those suppressed.

    Args:
        scores_GV: (G, V), changed in place.
        config: the settings.
        prompt: columns of the input.
        made: tokens made so far.
    """
    never = float("-inf")
    ends = token_list(config.eos_token_id)
    if ends and (made < (config.min_new_tokens or 0) or prompt + made < (config.min_length or 0)):
        scores_GV[:, ends] = never
    scores_GV[:, token_list(config.suppress_tokens)] = never
    if not made:
        scores_GV[:, token_list(config.begin_suppress_tokens)] = never
    return scores_GV
