"""Methods against the modules that Transformers has, as integers, operator by operator.

One layer's mixing of each is run on a small input under torch's FLOP counter; with a cache, the
tensors it holds are the state. Where a module does otherwise than the method's paper, that is said
and counted by hand.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BambaConfig,
    BigBirdConfig,
    DynamicCache,
    LongformerConfig,
    LongT5Config,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
    RwkvConfig,
)
from transformers.models.bamba.modeling_bamba import BambaMixer
from transformers.models.big_bird.modeling_big_bird import BigBirdModel
from transformers.models.longformer.modeling_longformer import LongformerAttention
from transformers.models.longt5.modeling_longt5 import LongT5TransientGlobalAttention
from transformers.models.mamba.modeling_mamba import MambaForCausalLM, MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer, Mamba2Model
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.rwkv.modeling_rwkv import RwkvModel, RwkvSelfAttention

from rmtscale.costs.methods.bigbird import BigBird
from rmtscale.costs.methods.full import Full
from rmtscale.costs.methods.longformer import Longformer
from rmtscale.costs.methods.longt5 import LongT5
from rmtscale.costs.methods.mamba import Mamba
from rmtscale.costs.methods.mamba2 import Mamba2
from rmtscale.costs.methods.method import Method
from rmtscale.costs.methods.rwkv import Rwkv
from rmtscale.costs.methods.sliding_window import SlidingWindow
from tests.costs.methods.counting import HEADS, WIDTH, backbone, counted, predicted


def hidden(tokens: int, device: str = "meta") -> Tensor:
    return torch.randn(1, tokens, WIDTH, device=device)


@pytest.mark.parametrize("tokens", [32, 64, 160])
@pytest.mark.parametrize("seen", [0, 1, 3])
def test_longformer(tokens: int, seen: int) -> None:
    window = 32
    config = LongformerConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[window]
    )
    module = LongformerAttention(config, layer_id=0).eval()
    is_global = torch.zeros(1, tokens, dtype=torch.bool)
    is_global[:, :seen] = True
    mask = torch.where(is_global, 10000.0, 0.0)

    def run() -> None:
        module(
            hidden(tokens, "cpu"),
            attention_mask=mask,
            is_index_masked=mask < 0,
            is_index_global_attn=is_global,
            is_global_attn=seen > 0,
        )

    found = counted(run)
    model = backbone("bert", qkv_bias=True, output_bias=True)
    assert predicted(Longformer(window=window, global_tokens=seen), model, tokens) == found


@pytest.mark.parametrize("tokens", [64, 88, 96, 128])
def test_bigbird(tokens: int) -> None:
    """Below (5 + 2r) blocks the module is full attention, above block-sparse."""
    block, randoms = 8, 3
    config = BigBirdConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_hidden_layers=1,
        intermediate_size=WIDTH,
        vocab_size=101,
        block_size=block,
        num_random_blocks=randoms,
        max_position_embeddings=4096,
        attn_implementation="eager",
    )
    module = BigBirdModel(config, add_pooling_layer=False).eval()
    ids = torch.zeros(1, tokens, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(input_ids=ids)
    by_module = counter.get_flop_counts()
    found = {
        str(operator).removeprefix("aten."): flops
        for operator, flops in by_module["BigBirdModel.encoder.layer.0.attention"].items()
    }
    model = backbone("bert", qkv_bias=True, output_bias=True)
    assert predicted(BigBird(block=block, random_blocks=randoms), model, tokens) == found


@pytest.mark.parametrize("tokens", [24, 64, 100])
def test_longt5(tokens: int) -> None:
    config = LongT5Config(
        d_model=WIDTH,
        num_heads=HEADS,
        d_kv=WIDTH // HEADS,
        local_radius=7,
        global_block_size=4,
        encoder_attention_type="transient-global",
    )
    module = LongT5TransientGlobalAttention(config, has_relative_attention_bias=True).eval()
    module.gradient_checkpointing = False  # set by the model around it
    found = counted(lambda: module(hidden(tokens, "cpu"), mask=torch.ones(1, tokens)))
    method = LongT5(radius=7, global_block=4)
    assert predicted(method, backbone("bert"), tokens) == found


def test_mistral_token_by_token() -> None:
    """A rolling cache: a step multiplies what the band has in a row, and holds no more."""
    window, layers = 16, 2
    config = MistralConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        head_dim=WIDTH // HEADS,
        num_hidden_layers=layers,
        intermediate_size=4 * WIDTH,
        vocab_size=101,
        sliding_window=window,
        attn_implementation="eager",
    )
    module = MistralForCausalLM(config).eval()
    model = backbone("llama", layers=layers, kv_heads=2)
    method = SlidingWindow(window=window)
    cache = DynamicCache(config=config)
    one = torch.zeros(1, 1, dtype=torch.long)
    for tokens in range(1, 3 * window):
        found = counted(lambda: module(input_ids=one, past_key_values=cache))
        row = predicted(method, model, tokens)["bmm"] // tokens
        angles = 2 * (WIDTH // HEADS) // 2  # the rotary table, as a product of two vectors
        assert found["bmm"] in (row, row + angles)
        held = sum(
            tensor.numel() * tensor.element_size()
            for layer in cache.layers
            for tensor in (layer.keys, layer.values)
        )
        # The cache drops the oldest key only when the next one comes.
        state = method.state_bytes(model, tokens, 4)
        assert held in (state, state - state // window)


def held_bytes(cache: Any) -> int:
    """Every tensor of a cache, each once."""
    tensors = {
        id(value): value
        for layer in cache.layers
        for value in vars(layer).values()
        for value in (value.values() if isinstance(value, dict) else [value])
        if isinstance(value, Tensor)
    }
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


@pytest.mark.parametrize("tokens", [1, 8, 33])
def test_mamba(tokens: int) -> None:
    config = MambaConfig(hidden_size=WIDTH, state_size=16, num_hidden_layers=1, vocab_size=101)
    module = MambaMixer(config, layer_idx=0).eval().to("meta")
    found = counted(lambda: module(hidden(tokens)))
    assert predicted(Mamba(), backbone(), tokens) == found


def test_mamba_state() -> None:
    config = MambaConfig(hidden_size=WIDTH, state_size=16, num_hidden_layers=2, vocab_size=101)
    module = MambaForCausalLM(config).eval()
    cache = module(torch.zeros(1, 9, dtype=torch.long), use_cache=True).cache_params
    assert held_bytes(cache) == Mamba().state_bytes(backbone(layers=2), 9, 4)


MAMBA2 = {"hidden_size": WIDTH, "head_dim": 16, "num_heads": 8, "state_size": 32, "n_groups": 2}


@pytest.mark.parametrize("tokens", [16, 40, 128])
def test_mamba2(tokens: int) -> None:
    chunk = 16
    config = Mamba2Config(**MAMBA2, chunk_size=chunk, num_hidden_layers=1, vocab_size=101)
    module = Mamba2Mixer(config, layer_idx=0).eval().to("meta")
    found = counted(lambda: module(hidden(tokens)))
    method = Mamba2(head_width=16, state_size=32, groups=2, chunk=chunk)
    # The module hands states over by a product of all chunks with all; this does it one by one.
    chunks = -(-tokens // chunk)
    found["bmm"] -= 2 * (chunks + 1) ** 2 * (2 * WIDTH) * 32
    assert predicted(method, backbone(), tokens) == found


def test_mamba2_state() -> None:
    config = Mamba2Config(**MAMBA2, chunk_size=16, num_hidden_layers=2, vocab_size=101)
    module = Mamba2Model(config).eval()
    cache = module(torch.zeros(1, 9, dtype=torch.long), use_cache=True).cache_params
    method = Mamba2(head_width=16, state_size=32, groups=2)
    assert held_bytes(cache) == method.state_bytes(backbone(layers=2), 9, 4)


@pytest.mark.parametrize(
    ("method", "module", "kind"),
    [
        (
            Mamba(),
            MambaMixer(MambaConfig(hidden_size=WIDTH, num_hidden_layers=1), layer_idx=0),
            "opt",
        ),
        (
            Mamba2(head_width=16, state_size=32, groups=2),
            Mamba2Mixer(Mamba2Config(**MAMBA2, num_hidden_layers=1), layer_idx=0),
            "opt",
        ),
        (Rwkv(), RwkvSelfAttention(RwkvConfig(hidden_size=WIDTH, num_hidden_layers=1)), "opt"),
        (
            Longformer(window=32),
            LongformerAttention(
                LongformerConfig(
                    hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[32]
                ),
                layer_id=0,
            ),
            "bert",
        ),
        (
            LongT5(),
            LongT5TransientGlobalAttention(
                LongT5Config(d_model=WIDTH, num_heads=HEADS, d_kv=WIDTH // HEADS)
            ),
            "bert",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_weights_are_those_of_the_modules_matrices(
    method: Method, module: torch.nn.Module, kind: str
) -> None:
    """Linear layers and convolutions; biases and vectors are left out."""
    matrices = [
        part.weight.numel()
        for part in module.modules()
        if isinstance(part, torch.nn.Linear | torch.nn.Conv1d)
    ]
    assert method.weights(backbone(kind)) == sum(matrices)


def test_bamba_has_the_same_mixer() -> None:
    config = BambaConfig(
        hidden_size=WIDTH,
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_d_state=32,
        mamba_n_groups=2,
        mamba_chunk_size=16,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
    )
    module = BambaMixer(config, layer_idx=0).eval().to("meta")
    found = counted(lambda: module(hidden(40)))
    wanted = predicted(Mamba2(head_width=16, state_size=32, groups=2, chunk=16), backbone(), 40)
    assert {key: found[key] for key in ("mm", "convolution")} == {
        key: wanted[key] for key in ("mm", "convolution")
    }


@pytest.mark.parametrize("tokens", [1, 20])
def test_rwkv(tokens: int) -> None:
    config = RwkvConfig(hidden_size=WIDTH, num_hidden_layers=1, vocab_size=101)
    module = RwkvSelfAttention(config).eval()
    found = counted(lambda: module(hidden(tokens, "cpu")))
    assert predicted(Rwkv(), backbone(), tokens) == found


def test_rwkv_state() -> None:
    config = RwkvConfig(hidden_size=WIDTH, num_hidden_layers=2, vocab_size=101)
    state = RwkvModel(config).eval()(torch.zeros(1, 5, dtype=torch.long), use_cache=True).state
    held = sum(tensor.numel() * tensor.element_size() for tensor in state)
    channel_mix = WIDTH * 2 * 4  # its last token, the feed-forward's and not the mixing's
    assert held - channel_mix == Rwkv().state_bytes(backbone(layers=2), 5, 4)


def test_full_attention_is_what_the_other_formulas_start_from() -> None:
    config = MistralConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        head_dim=WIDTH // HEADS,
        num_hidden_layers=1,
        sliding_window=None,
        intermediate_size=4 * WIDTH,
        vocab_size=101,
        attn_implementation="eager",
    )
    module = MistralForCausalLM(config).eval()
    model = backbone("llama", kv_heads=2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cache = module(torch.zeros(1, 40, dtype=torch.long)).past_key_values
    found = counter.get_flop_counts()["MistralForCausalLM.model.layers.0.self_attn"]
    assert {str(key).removeprefix("aten."): flops for key, flops in found.items()} == predicted(
        Full(), model, 40
    )
    assert held_bytes(cache) == Full().state_bytes(model, 40, 4)
