"""Encoders: BERT and what came of it, with the heads that Transformers puts on each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rmtscale.errors import BadInput
from rmtscale.specs.layered import HeadShape, LayeredSpec
from rmtscale.specs.layers import FeedForward, Layer
from rmtscale.specs.parts import Matrix
from rmtscale.specs.rows.decoders import _all_heads, _own_head, sizes
from rmtscale.specs.rows.fields import Fields
from rmtscale.specs.rows.heads import labels_of
from rmtscale.specs.rows.row import Row, attention_of, switch
from rmtscale.specs.rows.windows import typed

Head = Callable[[Fields, LayeredSpec], HeadShape]


def once(inner: int, outer: int, bias: bool = True) -> Matrix:
    """A matrix that one vector of each sample passes through."""
    return Matrix("head", inner, outer, bias, rows="once")


def each(inner: int, outer: int, bias: bool = True) -> Matrix:
    """A matrix that every token passes through."""
    return Matrix("head", inner, outer, bias)


def pooled(title: str, labels: int | None = None) -> Head:
    """A pooler over the first token, and a classifier."""

    def head(fields: Fields, spec: LayeredSpec) -> HeadShape:
        count = labels_of(fields) if labels is None else labels
        dense = once(spec.width, spec.width)
        return HeadShape(title, (dense, once(spec.width, count)))

    return head


def pooler(fields: Fields, spec: LayeredSpec) -> HeadShape:
    """The pooler that a bare BERT ends in."""
    del fields
    return HeadShape("none, a pooler", (once(spec.width, spec.width),))


def bare(fields: Fields, spec: LayeredSpec) -> HeadShape:
    del fields, spec
    return HeadShape("none")


def per_token(title: str) -> Head:
    """One classifier over every token."""
    return lambda fields, spec: HeadShape(title, (each(spec.width, labels_of(fields)),))


def masked(fields: Fields, spec: LayeredSpec) -> HeadShape:
    """A dense layer and a norm, then the vocabulary; its bias stands beside the tied matrix."""
    width, embedding = spec.width, spec.embedding_width
    tied = fields.flag("tie_word_embeddings")
    decoder = Matrix("head", embedding, spec.vocabulary, True, tied=tied)
    own = 0 if tied else spec.vocabulary  # the bias of the matrix and that of the head, apart
    return HeadShape(
        "masked language model", (each(width, embedding), decoder), 2 * embedding + own
    )


def _with_pair(fields: Fields, spec: LayeredSpec) -> HeadShape:
    """BERT's pretraining: masked tokens, and whether one sentence follows the other."""
    head = masked(fields, spec)
    pair = once(spec.width, spec.width), once(spec.width, 2)
    return HeadShape("pretraining", (*head.matrices, *pair), head.vectors)


def _electra_masked(fields: Fields, spec: LayeredSpec) -> HeadShape:
    head = masked(fields, spec)
    return head._replace(vectors=2 * spec.embedding_width)


_TOKENS = {
    "ForTokenClassification": per_token("token classification"),
    "ForQuestionAnswering": per_token("question answering"),
}
BERT_HEADS: dict[str, Head] = {
    "Model": pooler,
    "ForSequenceClassification": pooled("sequence classification"),
    "ForMultipleChoice": pooled("multiple choice", 1),
    "ForNextSentencePrediction": pooled("next sentence", 2),
    "ForMaskedLM": masked,
    "ForPreTraining": _with_pair,
    **_TOKENS,
}
ROBERTA_HEADS: dict[str, Head] = {
    "Model": pooler,
    "ForSequenceClassification": pooled("sequence classification"),
    "ForMultipleChoice": pooled("multiple choice", 1),
    "ForMaskedLM": masked,
    **_TOKENS,
}
UNPOOLED_HEADS: dict[str, Head] = {**ROBERTA_HEADS, "Model": bare}
ELECTRA_HEADS: dict[str, Head] = {
    **UNPOOLED_HEADS,
    "ForMaskedLM": _electra_masked,
    "ForPreTraining": lambda fields, spec: HeadShape(
        "replaced token detection", (each(spec.width, spec.width), each(spec.width, 1))
    ),
}


def _albert_pretraining(fields: Fields, spec: LayeredSpec) -> HeadShape:
    head = masked(fields, spec)
    pair = once(spec.width, spec.width), once(spec.width, labels_of(fields))
    return HeadShape("pretraining", (*head.matrices, *pair), head.vectors)


def _encoder_only(fields: Fields) -> None:
    fields.refuse("is_decoder", False, "a decoder of this type is not supported")
    fields.refuse("add_cross_attention", False, "cross-attention is not supported")


def _rows_and_types(fields: Fields) -> int:
    _encoder_only(fields)
    return fields.size("max_position_embeddings") + fields.count("type_vocab_size")


def _rows_alone(fields: Fields) -> int:
    _encoder_only(fields)
    return fields.size("max_position_embeddings")


_BERT: dict[str, Any] = {
    "encoder": True,
    "gated": False,
    "norm_parts": 2,
    "qkv_bias": True,
    "output_bias": True,
    "mlp_bias": True,
    "embedding_norm": True,
    "final_norm": False,
    "kv_heads": _all_heads,
    "head_width": _own_head,
    "positions": _rows_and_types,
    "default_class": "ForSequenceClassification",
    "heads_table": ROBERTA_HEADS,
    "modules": None,
    "harmless": "classifier_dropout directionality pooler_fc_size pooler_num_attention_heads "
    "pooler_num_fc_layers pooler_size_per_head pooler_type summary_activation "
    "summary_last_dropout summary_type summary_use_proj classifier_dropout_prob "
    "num_key_value_heads head_dim",
}


def _sizes(vocabulary: int, width: int = 768, layers: int = 12, heads: int = 12) -> dict[str, Any]:
    return sizes(vocabulary, width, 4 * width, layers, heads) | {
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "tie_word_embeddings": True,
    }


def _bert(prefix: str, **values: Any) -> Row:
    return Row(prefix=prefix, **{**_BERT, **values})


def _albert(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    if fields.count("num_hidden_groups") != 1 or fields.count("inner_group_num") != 1:
        raise BadInput(
            f"model {fields.name!r}: num_hidden_groups and inner_group_num, expected 1 each"
        )
    outer = spec.outer or (Matrix("projection", spec.embedding_width, spec.width, True),)
    return replace(spec, outer=outer, shared_layers=True)


def _mpnet(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    buckets = fields.size("relative_attention_num_buckets")
    return replace(spec, outer_vectors=spec.outer_vectors + buckets * spec.heads)


def _modernbert_window(fields: Fields, index: int, layers: int) -> int:
    every = fields.get("global_attn_every_n_layers", 3) or 3
    return typed("local_attention", fields, index, layers, not index % every)


def _modernbert_layers(fields: Fields, row: Row, count: int) -> list[Layer]:
    """The first layer has no norm before its attention."""
    inner = fields.size("intermediate_size")
    block = FeedForward(inner=inner, bias=switch(fields, row.mlp_bias))
    return [
        Layer(attention_of(fields, row, index, count), block, 2 if index else 1)
        for index in range(count)
    ]


def _modernbert(fields: Fields, spec: LayeredSpec) -> LayeredSpec:
    parts = 1 + fields.flag("norm_bias")
    return replace(spec, norm_parts=parts, outer_vectors=2 * parts * spec.width)


def _modern_head(title: str, per_token_too: bool, labels: int | None = None) -> Head:
    def head(fields: Fields, spec: LayeredSpec) -> HeadShape:
        bias = fields.flag("classifier_bias")
        make = each if per_token_too else once
        count = labels_of(fields) if labels is None else labels
        dense = make(spec.width, spec.width, bias)
        norm = spec.norm_parts * spec.width
        return HeadShape(title, (dense, make(spec.width, count)), norm)

    return head


def _modern_masked(fields: Fields, spec: LayeredSpec) -> HeadShape:
    dense = each(spec.width, spec.width, fields.flag("classifier_bias"))
    tied, bias = fields.flag("tie_word_embeddings"), fields.flag("decoder_bias")
    decoder = Matrix("head", spec.width, spec.vocabulary, bias, tied=tied)
    return HeadShape("masked language model", (dense, decoder), spec.norm_parts * spec.width)


ROWS = {
    "bert": _bert("Bert", defaults=_sizes(30522), heads_table=BERT_HEADS),
    "roberta": _bert("Roberta", defaults=_sizes(50265)),
    "xlm-roberta": _bert("XLMRoberta", defaults=_sizes(30522)),
    "camembert": _bert("Camembert", defaults=_sizes(30522)),
    "electra": _bert(
        "Electra",
        defaults=_sizes(30522, 256, 12, 4) | {"embedding_size": 128},
        heads_table=ELECTRA_HEADS,
        embedding_width=lambda fields, width: fields.size("embedding_size", width),
        embedding_bias=True,
    ),
    "albert": _bert(
        "Albert",
        defaults=_sizes(30000, 4096, 12, 64)
        | {"embedding_size": 128, "num_hidden_groups": 1, "inner_group_num": 1},
        heads_table={
            **ROBERTA_HEADS,
            "ForPreTraining": _albert_pretraining,
        },
        embedding_width=lambda fields, width: fields.size("embedding_size"),
        embedding_bias=True,
        adjust=_albert,
        harmless=f"{_BERT['harmless']} down_scale_factor gap_size net_structure_type "
        "num_memory_blocks",
    ),
    "distilbert": _bert(
        "DistilBert",
        defaults={"vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12}
        | {"hidden_dim": 3072, "max_position_embeddings": 512, "tie_word_embeddings": True},
        names={"width": "dim", "layers": "n_layers", "heads": "n_heads", "inner": "hidden_dim"},
        synonyms={"hidden_size": "dim", "num_attention_heads": "n_heads"}
        | {"num_hidden_layers": "n_layers"},
        heads_table={
            **UNPOOLED_HEADS,
            "ForMaskedLM": _electra_masked,
        },
        positions=_rows_alone,
        harmless=f"{_BERT['harmless']} activation dropout qa_dropout seq_classif_dropout "
        "sinusoidal_pos_embds",
    ),
    "mpnet": _bert(
        "MPNet",
        defaults=_sizes(30527) | {"relative_attention_num_buckets": 32},
        positions=_rows_alone,
        adjust=_mpnet,
    ),
    "modernbert": Row(
        prefix="ModernBert",
        defaults=sizes(50368, 768, 1152, 22, 12)
        | {"norm_bias": False, "attention_bias": False, "mlp_bias": False, "decoder_bias": True}
        | {"classifier_bias": False, "local_attention": 128, "tie_word_embeddings": True},
        encoder=True,
        embedding_norm=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        mlp_bias="mlp_bias",
        kv_heads=_all_heads,
        head_width=_own_head,
        window=_modernbert_window,
        layers=_modernbert_layers,
        adjust=_modernbert,
        default_class="ForSequenceClassification",
        heads_table={
            "Model": bare,
            "ForMaskedLM": _modern_masked,
            "ForSequenceClassification": _modern_head("sequence classification", False),
            "ForTokenClassification": _modern_head("token classification", True),
            "ForQuestionAnswering": _modern_head("question answering", True),
            "ForMultipleChoice": _modern_head("multiple choice", False, 1),
        },
        harmless="classifier_activation classifier_pooling deterministic_flash_attn "
        "global_rope_theta layer_norm_eps local_rope_theta mlp_dropout "
        "reference_compile repad_logits_with_grad sparse_pred_ignore_index "
        "sparse_prediction",
        modules=None,
    ),
}
