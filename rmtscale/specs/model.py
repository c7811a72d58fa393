"""The shape of a transformer, on which its cost depends. Weights' values do not matter here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from rmtscale.errors import BadInput
from rmtscale.specs.quantization.formats import Quantization
from rmtscale.units import require_one_of, require_positive

Head = Literal["language-model", "classification"]
KINDS = ("bert", "gpt2", "gpt_neo", "gpt_neox", "llama", "opt")
"""The backbones that are understood, by the ``model_type`` of their Hugging Face config."""
T = TypeVar("T")


def of_kind(table: Mapping[str, T], kind: str, what: str) -> T:
    """Returns a table's entry for a kind of backbone.

    Raises:
        BadInput: the table has no such kind; names ``what`` it is of and the kinds it has.
    """
    if kind not in table:
        raise BadInput(f"model kind {kind!r}: {what} not known, expected one of {', '.join(table)}")
    return table[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The shape of one transformer, whole and immutable.

    Raises:
        BadInput: a size below 1, heads that do not divide, or a kind that is not understood.
    """

    name: str
    """How the user calls it: ``opt-175b``, or the path it was read from."""
    kind: str
    """``model_type`` of the Hugging Face config; one of ``KINDS``."""
    layers: int
    width: int
    """Hidden size, d."""
    heads: int
    """Query heads, h."""
    kv_heads: int
    """Key and value heads; fewer than ``heads`` with grouped-query attention."""
    head_width: int
    """Width of one head, k; ``heads * head_width`` is the width of the query."""
    mlp_width: int
    """Inner width of the feed-forward block, ffw."""
    vocabulary: int
    """Rows of the token embedding, V (padded rows included)."""
    embedding_width: int
    """Width of the token embedding and of an RMT's memory; not ``width`` only if projected."""
    positions: int | None = None
    """Longest sequence of a learned position table; None where positions are rotary."""
    position_rows: int = 0
    """Rows the table really has (OPT keeps two more than it uses)."""
    token_types: int = 0
    """Rows of BERT's token-type embedding."""
    rotary_width: int = 0
    """How much of each head is rotated; 0 with learned positions."""
    gated_mlp: bool = False
    """Two up-projections, one of them through the activation (Llama)."""
    activation: str = "gelu"
    """Hugging Face's name of the activation: decides what a backward pass has to keep."""
    norm: Literal["layer", "rms"] = "layer"
    post_norm: bool = False
    """Norm after each block instead of before (BERT, OPT-350M)."""
    final_norm: bool = True
    embedding_norm: bool = False
    qkv_bias: bool = True
    output_bias: bool = True
    """Bias of the attention's output projection."""
    mlp_bias: bool = True
    parallel_blocks: bool = False
    """Attention and feed-forward read the same input (Pythia)."""
    tied_head: bool = True
    head: Head = "language-model"
    labels: int = 0
    """Classes of a classification head."""
    local_layers: int = 0
    """Layers with local attention (GPT-Neo); the released module multiplies the full square."""
    local_window: int = 0
    hidden_dropout: float = 0.0
    """Dropout after embeddings and blocks as the released config has it."""
    attention_dropout: float = 0.0
    """Dropout on attention probabilities as the released config has it."""
    hub_name: str | None = None
    """Name on the Hugging Face hub, where there is one."""
    source: str = ""
    """Where the shape comes from: paper, table."""
    quantization: Quantization | None = None
    """Which weights are stored in fewer bits; None: all in the dtype of the workload."""

    def __post_init__(self) -> None:
        require_one_of("model kind", self.kind, KINDS)
        require_sizes(self)

    @property
    def decoder(self) -> bool:
        """Causal, with read and write memory; an encoder has its memory once, in front."""
        return self.kind != "bert"

    @property
    def query_width(self) -> int:
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_width

    @property
    def projected_embedding(self) -> bool:
        """The embedding is narrower than the model and is projected in and out (OPT-350M)."""
        return self.embedding_width != self.width

    def without_dropout(self) -> ModelSpec:
        return replace(self, hidden_dropout=0.0, attention_dropout=0.0)


def require_sizes(model: ModelSpec) -> None:
    """Raises ``BadInput`` for a size below 1, or query heads that the key heads do not divide."""
    for field in (
        "layers",
        "width",
        "heads",
        "kv_heads",
        "head_width",
        "mlp_width",
        "vocabulary",
        "embedding_width",
    ):
        require_positive(field, getattr(model, field))
    if model.heads % model.kv_heads:
        raise BadInput(
            f"kv_heads {model.kv_heads}: expected a divisor of the {model.heads} query heads"
        )
