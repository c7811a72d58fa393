"""The fields of one config: what is absent has the class's default, what is null is none.

Every field that is asked for is remembered, so that what nobody asked for can be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.specs.fields import require_sane, wrong_field

IGNORED = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash
    _flash_attn_2_enabled _from_model_config _name_or_path activation_dropout
    activation_function add_bos_token add_prefix_space architectures attention_dropout
    attention_probs_dropout_prob attn_implementation attn_pdrop auto_map bad_words_ids
    begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward
    compression_config
    classifier_dropout cls_token_id context_window_size cross_attention_hidden_size
    decoder_start_token_id diversity_penalty do_sample dropout dropout_rate dtype early_stopping
    embd_pdrop embed_dropout embedding_dropout encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing hidden_act hidden_activation hidden_dropout hidden_dropout_prob
    id2label init_method_std init_std initializer_cutoff_factor initializer_factor
    initializer_range is_encoder_decoder keep_in_fp32 label2id label_smoothing layer_norm_eps
    layer_norm_epsilon layerdrop layernorm_epsilon length_penalty mask_token_id max_length
    max_position_embeddings max_sequence_length min_length model_type n_ctx name
    no_repeat_ngram_size norm_eps norm_epsilon num_beam_groups num_beams num_labels
    num_return_sequences original_max_position_embeddings output_attentions output_hidden_states
    output_past output_router_logits output_scores pad_token_id position_embedding_type
    prefill_chunk_size prefix pretraining_tp problem_type pruned_heads quantization_config
    remove_invalid_values repetition_penalty resid_dropout resid_pdrop return_dict
    return_dict_in_generate rms_norm_eps rope_parameters rope_scaling rope_theta rotary
    rotary_emb_base router_aux_loss_coef router_jitter_noise scale_attn_weights scale_embedding
    sep_token_id seq_length suppress_tokens task_specific_params temperature text_config
    tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
    vision_config vocab_file
    """.split()  # noqa: SIM905
)
"""Fields that change neither parameters nor matrix products of any class that is known here:
initialisation, rotation, dropout, token ids, how text is written, what Transformers notes down."""


class Fields:
    """Reads one config.

    Args:
        config: the mapping.
        name: what messages call the model.
        defaults: what the class takes for a field that is absent.
        synonyms: other names of a field (Transformers calls it ``attribute_map``).
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        name: str,
        defaults: Mapping[str, Any],
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self.name, self.defaults = config, name, defaults
        self.synonyms = dict(synonyms or {})
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the class's default, or ``default``; None for a null."""
        names = (*(alias for alias, field in self.synonyms.items() if field == key), key)
        self.asked.update(names)
        for name in names:  # where a config has both, Transformers takes the other name's
            if name in self.config:
                return self.config[name]
        return self.defaults.get(key, default)

    def has(self, key: str) -> bool:
        """Whether the config itself has it."""
        self.asked.add(key)
        return key in self.config

    def has_any(self, key: str) -> bool:
        """Whether the config itself has it, under this name or another that the class takes."""
        names = (key, *(alias for alias, field in self.synonyms.items() if field == key))
        return any(name in self.config for name in names)

    def size(self, key: str, otherwise: int | None = None) -> int:
        """A whole number of 1 or more; ``otherwise`` where it is null or absent."""
        value = self.get(key)
        if value is None:
            if otherwise is None:
                raise BadInput(f"model {self.name!r}: its config lacks {key!r}")
            return otherwise
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(key, value, "a whole number of 1 or more")
        require_sane(self.name, key, value)
        return value

    def count(self, key: str) -> int:
        """A whole number of 0 or more; null is 0."""
        value = self.get(key)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, value, "a whole number of 0 or more")
        require_sane(self.name, key, value)
        return value

    def flag(self, key: str) -> bool:
        """True or false; null is false."""
        value = self.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def word(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, value, "a name")
        return value

    def words(self, key: str, count: int) -> list[str] | None:
        """A list of ``count`` names; None where it is null or absent."""
        value = self.get(key)
        if value is None:
            return None
        if len(value) != count:
            raise BadInput(
                f"model {self.name!r}: {key} names {len(value)} layers, expected {count}"
            )
        return list(value)

    def flags(self, key: str, count: int) -> list[bool] | None:
        """A list of ``count`` switches, 0 or 1; None where it is null or absent."""
        value = self.get(key)
        if value is None:
            return None
        if len(value) != count:
            raise self.wrong(key, value, f"a list of {count} switches")
        return [bool(item) for item in value]

    def indices(self, key: str) -> frozenset[int]:
        """A list of layers by number; null is none."""
        value = self.get(key)
        if value is None:
            return frozenset()
        return frozenset(value)

    def refuse(self, key: str, usual: object, why: str) -> None:
        """Refuses any other value than the usual one (or none)."""
        value = self.get(key)
        if value is not None and value != usual:
            raise BadInput(f"model {self.name!r}: {key} is {value!r}, {why}")

    def wrong(self, key: str, value: object, expected: str) -> BadInput:
        return wrong_field(self.name, key, value, expected)

    def divided(self, key: str, by: str) -> int:
        """One size by another that divides it."""
        whole, parts = self.size(key), self.size(by)
        if whole % parts:
            raise BadInput(
                f"model {self.name!r}: {key} is {whole}, expected a multiple of {by} ({parts})"
            )
        return whole // parts

    def unread(self, harmless: frozenset[str]) -> list[str]:
        """Fields of the config that nobody asked for and that are not known to be harmless."""
        return sorted(set(self.config) - self.asked - harmless - IGNORED)
