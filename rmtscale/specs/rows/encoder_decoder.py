"""An encoder and a decoder with cross-attention: T5, BART, Whisper.

The encoder is taken to read as many tokens as the decoder writes, but for Whisper's, which always
reads the frames of 30 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import HeadShape, LayeredSpec
from rmtscale.specs.layers import FeedForward, Layer, grouped
from rmtscale.specs.parts import Irregular, Matrix
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.heads import labels_of
from rmtscale.specs.rows.row import Row, layered

_LANGUAGE_MODEL = "language model over an encoder's output"


def vocabulary_head(fields: Fields, spec: LayeredSpec) -> HeadShape:
    """A product with the vocabulary; tied or not."""
    tied = fields.flag("tie_word_embeddings")
    matrix = Matrix("head", spec.width, spec.vocabulary, tied=tied)
    return HeadShape(_LANGUAGE_MODEL, (matrix,))


def bare(fields: Fields, spec: LayeredSpec) -> HeadShape:
    del fields, spec
    return HeadShape("none")


def _classifier(fields: Fields, spec: LayeredSpec) -> HeadShape:
    dense = Matrix("head", spec.width, spec.width, True, rows="once")
    last = Matrix("head", spec.width, labels_of(fields), True, rows="once")
    return HeadShape("sequence classification", (dense, last))


def _per_token(title: str, labels: int | None = None) -> Callable[[Fields, LayeredSpec], HeadShape]:
    def head(fields: Fields, spec: LayeredSpec) -> HeadShape:
        count = labels_of(fields) if labels is None else labels
        return HeadShape(title, (Matrix("head", spec.width, count, True),))

    return head


def encoder_alone(spec: LayeredSpec, tables: int, vectors: int) -> LayeredSpec:
    """The encoder as a model of its own."""
    return replace(
        spec,
        layers=sum(count for _, count in spec.encoder_groups),
        groups=spec.encoder_groups,
        encoder_groups=(),
        tables=tables,
        outer_vectors=vectors,
        causal=False,
    )


def decoder_alone(spec: LayeredSpec, tables: int, vectors: int) -> LayeredSpec:
    """The decoder as a model of its own: its cross-attention is there and reads nothing."""
    idle = tuple(
        (layer._replace(cross=layer.cross and replace(layer.cross, idle=True)), count)
        for layer, count in spec.groups
    )
    return replace(
        spec,
        layers=sum(count for _, count in spec.groups),
        groups=idle,
        encoder_groups=(),
        encoder_tokens=None,
        fixed=(),
        tables=tables,
        outer_vectors=vectors,
    )


def _t5(fields: Fields, row: Row) -> LayeredSpec:
    del row
    width, heads = fields.size("d_model"), fields.size("num_heads")
    gated = fields.word("feed_forward_proj").startswith("gated-")
    if fields.has("is_gated_act"):
        gated = fields.flag("is_gated_act")
    encoder = fields.size("num_layers")
    decoder = fields.size("num_decoder_layers", encoder)
    if not fields.has("num_decoder_layers"):
        decoder = encoder
    attention = Attention(heads=heads, kv_heads=heads, head_width=fields.size("d_kv"))
    block = FeedForward(inner=fields.size("d_ff"), gated=gated)
    cross = replace(attention, reads_encoder=True)
    return layered(
        fields.name,
        width=width,
        embedding_width=width,
        vocabulary=fields.size("vocab_size"),
        layers=[Layer(attention, block, 3, cross)] * decoder,
        encoder_groups=grouped([Layer(attention, block, 2)] * encoder),
        outer_vectors=2 * (width + fields.size("relative_attention_num_buckets") * heads),
        norm_parts=1,
        tied_head=fields.flag("tie_word_embeddings"),
    )


def _t5_variant(name: str, fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    if name not in ("EncoderModel", "ForTokenClassification"):
        return spec
    vectors = spec.width + fields.size("relative_attention_num_buckets") * spec.heads
    return encoder_alone(spec, 0, vectors)


def _side(fields: Fields, side: str, norms: int, key_bias: bool | None) -> Layer:
    """One layer of BART's or Whisper's encoder or decoder."""
    width, heads = fields.size("d_model"), fields.size(f"{side}_attention_heads")
    if width % heads:
        raise BadInput(
            f"model {fields.name!r}: d_model is {width}, expected a multiple of "
            f"{side}_attention_heads ({heads})"
        )
    attention = Attention(
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        qkv_bias=True,
        key_bias=key_bias,
        output_bias=True,
    )
    block = FeedForward(inner=fields.size(f"{side}_ffn_dim"), gated=False, bias=True)
    cross = replace(attention, reads_encoder=True) if side == "decoder" else None
    return Layer(attention, block, norms, cross)


def _bart(fields: Fields, row: Row) -> LayeredSpec:
    del row
    width, words = fields.size("d_model"), fields.size("vocab_size")
    rows = fields.size("max_position_embeddings") + 2
    tied = fields.flag("tie_word_embeddings")
    return layered(
        fields.name,
        width=width,
        embedding_width=width,
        vocabulary=words,
        layers=[_side(fields, "decoder", 3, None)] * fields.size("decoder_layers"),
        encoder_groups=((_side(fields, "encoder", 2, None), fields.size("encoder_layers")),),
        # Untied, encoder and decoder have an embedding each beside the one of the whole.
        tables=2 * (rows + words * (not tied)) * width,
        outer_vectors=4 * width,
        norm_parts=2,
        tied_head=tied,
    )


def _bart_variant(name: str, fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    if name != "ForCausalLM":
        return spec
    rows = fields.size("max_position_embeddings") + 2
    return decoder_alone(spec, rows * spec.width, 2 * spec.width)


def _whisper(fields: Fields, row: Row) -> LayeredSpec:
    del row
    width, frames = fields.size("d_model"), fields.size("max_source_positions")
    bins = fields.size("num_mel_bins")
    first = 2 * frames * 3 * bins * width
    convolutions = 3 * width * (bins + width) + 2 * width
    return layered(
        fields.name,
        width=width,
        embedding_width=width,
        vocabulary=fields.size("vocab_size"),
        layers=[_side(fields, "decoder", 3, False)] * fields.size("decoder_layers"),
        encoder_groups=((_side(fields, "encoder", 2, False), fields.size("encoder_layers")),),
        encoder_tokens=frames,
        tables=(frames + fields.size("max_target_positions")) * width,
        outer_vectors=4 * width + convolutions,
        fixed=(
            # Of the sound itself no gradient is wanted.
            Irregular("convolution", first, "convolution", backward=first),
            Irregular("convolution", frames * 3 * width * width, "convolution"),
        ),
        norm_parts=2,
        tied_head=fields.flag("tie_word_embeddings"),
    )


def _whisper_variant(name: str, fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    if name != "ForCausalLM":
        return spec
    return decoder_alone(spec, fields.size("max_target_positions") * spec.width, 2 * spec.width)


_T5_HEADS = {
    "ForConditionalGeneration": vocabulary_head,
    "Model": bare,
    "EncoderModel": bare,
    "ForSequenceClassification": _classifier,
    "ForTokenClassification": _per_token("token classification"),
    "ForQuestionAnswering": _per_token("question answering"),
}
_BART_HEADS = {
    "ForConditionalGeneration": vocabulary_head,
    "Model": bare,
    "ForCausalLM": vocabulary_head,
    "ForSequenceClassification": _classifier,
    "ForQuestionAnswering": _per_token("question answering", 2),
}
_T5_HARMLESS = (
    "relative_attention_max_distance dense_act_fn is_decoder n_positions scale_decoder_outputs"
)
_BART_HARMLESS = (
    "decoder_layerdrop encoder_layerdrop add_final_layer_norm normalize_before is_decoder "
    "normalize_embedding static_position_embeddings extra_pos_embeddings "
    "force_bos_token_to_be_generated classif_dropout add_bias_logits"
)
_SIDES = {
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "d_model": 1024,
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "num_labels": 3,
    "tie_word_embeddings": True,
}
_SIDE_SYNONYMS = {
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
}
_T5_SYNONYMS = {
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}


def _t5_row(prefix: str, **defaults: object) -> Row:
    return Row(
        prefix=prefix,
        names={"width": "d_model"},
        defaults={"d_kv": 64, "relative_attention_num_buckets": 32, "tie_word_embeddings": True}
        | defaults,
        synonyms=_T5_SYNONYMS,
        fixed={"tie_word_embeddings": True},
        default_class="ForConditionalGeneration",
        heads_table=_T5_HEADS,
        other_prefixes=("T5WithLMHead",),
        read=_t5,
        variant=_t5_variant,
        harmless=_T5_HARMLESS,
        modules=None,
    )


ROWS = {
    "t5": _t5_row(
        "T5",
        vocab_size=32128,
        d_model=512,
        d_ff=2048,
        num_layers=6,
        num_heads=8,
        feed_forward_proj="relu",
    ),
    "mt5": _t5_row(
        "MT5",
        vocab_size=250112,
        d_model=512,
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
    ),
    "bart": Row(
        prefix="Bart",
        names={"width": "d_model"},
        defaults=_SIDES,
        synonyms=_SIDE_SYNONYMS,
        default_class="ForConditionalGeneration",
        heads_table=_BART_HEADS,
        read=_bart,
        variant=_bart_variant,
        harmless=_BART_HARMLESS,
        modules=None,
    ),
    "whisper": Row(
        prefix="Whisper",
        names={"width": "d_model"},
        defaults={"vocab_size": 51865, "num_mel_bins": 80, "encoder_layers": 4}
        | {"encoder_attention_heads": 6, "decoder_layers": 4, "decoder_attention_heads": 6}
        | {"decoder_ffn_dim": 1536, "encoder_ffn_dim": 1536, "d_model": 384}
        | {"max_source_positions": 1500, "max_target_positions": 448}
        | {"tie_word_embeddings": True},
        synonyms=_SIDE_SYNONYMS | {"num_key_value_heads": "encoder_attention_heads"},
        default_class="ForConditionalGeneration",
        heads_table={
            "ForConditionalGeneration": vocabulary_head,
            "Model": bare,
            "ForCausalLM": vocabulary_head,
        },
        read=_whisper,
        variant=_whisper_variant,
        harmless="alignment_heads apply_spec_augment classifier_proj_size decoder_layerdrop "
        "encoder_layerdrop forced_decoder_ids mask_feature_length "
        "mask_feature_min_masks mask_feature_prob mask_time_length mask_time_min_masks "
        "mask_time_prob median_filter_width use_weighted_layer_sum",
        modules=None,
    ),
}
