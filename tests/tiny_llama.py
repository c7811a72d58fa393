"""A tiny decoder of SmolLM2's kind as a Hugging Face folder: grouped queries, rotary, tied head."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rmtscale.study.tasks.tokenizer import train_tokenizer


def save_llama(
    folder: Path, text: Path, *, seed: int = 0, vocabulary: int = 320, positions: int = 64
) -> Path:
    """Writes ``config.json``, ``model.safetensors`` and a byte-level ``tokenizer.json``.

    Args:
        folder: is made.
        text: folder with ``train.jsonl``, of which the tokenizer is made.
        seed: of the weights.
        vocabulary: most tokens of the tokenizer.
        positions: that a segment may have.
    """
    lines = (text / "train.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer = train_tokenizer([json.loads(line)["text"] for line in lines], vocabulary)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=36,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    stored = tokenizer.to_mapping()["tokenizer"]
    (folder / "tokenizer.json").write_text(stored, encoding="utf-8")
    return folder
