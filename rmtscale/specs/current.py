"""Presets of what people run now: the fields of their published configs that matter.

Each is read by its type's row, as a config.json of the same fields would be. Tests fix the total of
each, and ``make verify`` builds the real module of each, which has the same. MiniLM is what its
checkpoint is: a ``BertModel`` with a pooler and no head, 22,713,216 parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class CurrentPreset(NamedTuple):
    """One model by its config."""

    hub_name: str
    config: Mapping[str, Any]


def _sized(
    kind: str, width: int, inner: int, layers: int, heads: int, kv_heads: int, **more: Any
) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        **more,
    }


def _experts(width: int, layers: int, heads: int, inner: int, **more: Any) -> dict[str, Any]:
    """Qwen3's mixtures: 128 experts, 8 a token."""
    counts = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": inner}
    return _sized("qwen3_moe", width, 6144, layers, heads, 4, head_dim=128, **counts, **more)


def _encoder(
    kind: str, vocabulary: int, rows: int, types: int, width: int, layers: int
) -> dict[str, Any]:
    heads = width // 64
    return _sized(
        kind,
        width,
        4 * width,
        layers,
        heads,
        heads,
        vocab_size=vocabulary,
        max_position_embeddings=rows,
        type_vocab_size=types,
    )


def _modernbert(width: int, inner: int, layers: int) -> dict[str, Any]:
    config = _sized("modernbert", width, inner, layers, width // 64, width // 64)
    del config["num_key_value_heads"]
    return config


def _t5(width: int, inner: int, layers: int, heads: int, head_width: int = 64) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "d_model": width,
        "d_ff": inner,
        "d_kv": head_width,
        "num_layers": layers,
        "num_heads": heads,
        "vocab_size": 32128,
    }


def _mamba2(width: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "mamba2",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_heads": 2 * width // 64,
        "n_groups": 1,
        "vocab_size": 50288,
        "tie_word_embeddings": True,
    }


_TIED = {"tie_word_embeddings": True}
_UNTIED_VOCABULARY = {"vocab_size": 152064}
_GEMMA_3 = {"vocab_size": 262208, "sliding_window": 1024}
_DEEPSEEK_V3 = {"model_type": "deepseek_v3", "hidden_size": 7168}
_GPT_OSS = {"vocab_size": 201088, "head_dim": 64, "sliding_window": 128, "num_experts_per_tok": 4}

FAMILIES: dict[str, dict[str, CurrentPreset]] = {
    "Qwen2.5": {
        f"qwen2.5-{size}": CurrentPreset(f"Qwen/Qwen2.5-{size.upper()}", config)
        for size, config in {
            "0.5b": _sized("qwen2", 896, 4864, 24, 14, 2, **_TIED),
            "1.5b": _sized("qwen2", 1536, 8960, 28, 12, 2, **_TIED),
            "3b": _sized("qwen2", 2048, 11008, 36, 16, 2, **_TIED),
            "7b": _sized("qwen2", 3584, 18944, 28, 28, 4, **_UNTIED_VOCABULARY),
            "14b": _sized("qwen2", 5120, 13824, 48, 40, 8, **_UNTIED_VOCABULARY),
            "32b": _sized("qwen2", 5120, 27648, 64, 40, 8, **_UNTIED_VOCABULARY),
            "72b": _sized("qwen2", 8192, 29568, 80, 64, 8, **_UNTIED_VOCABULARY),
        }.items()
    },
    "Qwen3": {
        f"qwen3-{size}": CurrentPreset(f"Qwen/Qwen3-{size.upper()}", config)
        for size, config in {
            "0.6b": _sized("qwen3", 1024, 3072, 28, 16, 8, **_TIED),
            "1.7b": _sized("qwen3", 2048, 6144, 28, 16, 8, **_TIED),
            "4b": _sized("qwen3", 2560, 9728, 36, 32, 8, **_TIED),
            "8b": _sized("qwen3", 4096, 12288, 36, 32, 8),
            "14b": _sized("qwen3", 5120, 17408, 40, 40, 8),
            "32b": _sized("qwen3", 5120, 25600, 64, 64, 8),
            "30b-a3b": _experts(2048, 48, 32, 768),
            "235b-a22b": _experts(4096, 94, 64, 1536),
        }.items()
    },
    "Llama 3.1": {
        f"llama-3.1-{size}": CurrentPreset(f"meta-llama/Llama-3.1-{size.upper()}", config)
        for size, config in {
            "8b": _sized("llama", 4096, 14336, 32, 32, 8, vocab_size=128256),
            "70b": _sized("llama", 8192, 28672, 80, 64, 8, vocab_size=128256),
        }.items()
    },
    "Mistral": {
        "mistral-7b": CurrentPreset(
            "mistralai/Mistral-7B-v0.1", _sized("mistral", 4096, 14336, 32, 32, 8)
        ),
        "mistral-nemo-12b": CurrentPreset(
            "mistralai/Mistral-Nemo-Base-2407",
            _sized(
                "mistral",
                5120,
                14336,
                40,
                32,
                8,
                head_dim=128,
                vocab_size=131072,
                sliding_window=None,
            ),
        ),
        "mixtral-8x7b": CurrentPreset(
            "mistralai/Mixtral-8x7B-v0.1", _sized("mixtral", 4096, 14336, 32, 32, 8)
        ),
        "mixtral-8x22b": CurrentPreset(
            "mistralai/Mixtral-8x22B-v0.1",
            _sized("mixtral", 6144, 16384, 56, 48, 8),
        ),
    },
    "Gemma": {
        "gemma-2-2b": CurrentPreset(
            "google/gemma-2-2b", _sized("gemma2", 2304, 9216, 26, 8, 4, head_dim=256)
        ),
        "gemma-2-9b": CurrentPreset(
            "google/gemma-2-9b", _sized("gemma2", 3584, 14336, 42, 16, 8, head_dim=256)
        ),
        "gemma-2-27b": CurrentPreset(
            "google/gemma-2-27b", _sized("gemma2", 4608, 36864, 46, 32, 16, head_dim=128)
        ),
        "gemma-3-1b": CurrentPreset(
            "google/gemma-3-1b-pt",
            _sized("gemma3_text", 1152, 6912, 26, 4, 1, vocab_size=262144, sliding_window=512),
        ),
        "gemma-3-27b": CurrentPreset(
            "google/gemma-3-27b-pt",
            _sized("gemma3_text", 5376, 21504, 62, 32, 16, head_dim=128, **_GEMMA_3),
        ),
    },
    "Phi": {
        "phi-3-mini": CurrentPreset(
            "microsoft/Phi-3-mini-4k-instruct", _sized("phi3", 3072, 8192, 32, 32, 32)
        ),
        "phi-4": CurrentPreset(
            "microsoft/phi-4", _sized("phi3", 5120, 17920, 40, 40, 10, vocab_size=100352)
        ),
    },
    "DeepSeek": {"deepseek-v3": CurrentPreset("deepseek-ai/DeepSeek-V3", _DEEPSEEK_V3)},
    "gpt-oss": {
        "gpt-oss-20b": CurrentPreset(
            "openai/gpt-oss-20b",
            _sized("gpt_oss", 2880, 2880, 24, 64, 8, num_local_experts=32, **_GPT_OSS),
        ),
        "gpt-oss-120b": CurrentPreset(
            "openai/gpt-oss-120b",
            _sized("gpt_oss", 2880, 2880, 36, 64, 8, num_local_experts=128, **_GPT_OSS),
        ),
    },
    "OLMo 2": {
        f"olmo-2-{size}": CurrentPreset(f"allenai/OLMo-2-{hub}", config)
        for size, (hub, config) in {
            "7b": ("1124-7B", _sized("olmo2", 4096, 11008, 32, 32, 32, vocab_size=100352)),
            "13b": ("1124-13B", _sized("olmo2", 5120, 13824, 40, 40, 40, vocab_size=100352)),
            "32b": ("0325-32B", _sized("olmo2", 5120, 27648, 64, 40, 8, vocab_size=100352)),
        }.items()
    },
    "SmolLM": {
        "smollm2-135m": CurrentPreset(
            "HuggingFaceTB/SmolLM2-135M",
            _sized("llama", 576, 1536, 30, 9, 3, vocab_size=49152, **_TIED),
        ),
        "smollm2-360m": CurrentPreset(
            "HuggingFaceTB/SmolLM2-360M",
            _sized("llama", 960, 2560, 32, 15, 5, vocab_size=49152, **_TIED),
        ),
        "smollm2-1.7b": CurrentPreset(
            "HuggingFaceTB/SmolLM2-1.7B",
            _sized("llama", 2048, 8192, 24, 32, 32, vocab_size=49152, **_TIED),
        ),
        "smollm3-3b": CurrentPreset(
            "HuggingFaceTB/SmolLM3-3B", _sized("smollm3", 2048, 11008, 36, 16, 4)
        ),
    },
    "encoders": {
        "roberta-base": CurrentPreset(
            "FacebookAI/roberta-base", _encoder("roberta", 50265, 514, 1, 768, 12)
        ),
        "roberta-large": CurrentPreset(
            "FacebookAI/roberta-large", _encoder("roberta", 50265, 514, 1, 1024, 24)
        ),
        "modernbert-base": CurrentPreset("answerdotai/ModernBERT-base", _modernbert(768, 1152, 22)),
        "modernbert-large": CurrentPreset(
            "answerdotai/ModernBERT-large", _modernbert(1024, 2624, 28)
        ),
        "all-minilm-l6-v2": CurrentPreset(
            "sentence-transformers/all-MiniLM-L6-v2",
            {
                **_sized("bert", 384, 1536, 6, 12, 12),
                "vocab_size": 30522,
                "architectures": ["BertModel"],
            },
        ),
    },
    "T5": {
        "t5-small": CurrentPreset("google-t5/t5-small", _t5(512, 2048, 6, 8)),
        "t5-base": CurrentPreset("google-t5/t5-base", _t5(768, 3072, 12, 12)),
        "t5-large": CurrentPreset("google-t5/t5-large", _t5(1024, 4096, 24, 16)),
        "t5-3b": CurrentPreset("google-t5/t5-3b", _t5(1024, 16384, 24, 32, 128)),
        "t5-11b": CurrentPreset("google-t5/t5-11b", _t5(1024, 65536, 24, 128, 128)),
    },
    "Mamba 2": {
        f"mamba2-{size}": CurrentPreset(f"state-spaces/mamba2-{size}", config)
        for size, config in {
            "130m": _mamba2(768, 24),
            "370m": _mamba2(1024, 48),
            "780m": _mamba2(1536, 48),
            "1.3b": _mamba2(2048, 48),
            "2.7b": _mamba2(2560, 64),
        }.items()
    },
}
PRESETS = {name: preset for family in FAMILIES.values() for name, preset in family.items()}
_BY_HUB_NAME = {preset.hub_name.lower(): name for name, preset in PRESETS.items()}


def current_name(name: str) -> str | None:
    """The preset of this name, or the one whose checkpoint the hub calls so; else None."""
    key = name.lower()
    return key if key in PRESETS else _BY_HUB_NAME.get(key)
