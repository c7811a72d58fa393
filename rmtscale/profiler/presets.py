"""Sweeps known by name, written as a TOML file would be."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Figure 10 of the paper: GPT-2 (110M) on one A100 80GB, fp32, no FlashAttention, batch 1,
    # AdamW, dropout as Hugging Face ships it, full BPTT, two memory tokens. The cap makes a
    # larger card run out of memory where theirs did.
    "figure-10": {
        "order": "short-first",
        "grid": [
            {
                "model": "gpt2",
                "method": ["full", "rmt"],
                "segment_size": [500, 1000],
                "memory_tokens": 2,
                "tokens": [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000],
                "mode": "train",
                "precision": "fp32",
                "attention": "eager",
                "optimizer": "adamw",
                "dropout": True,
                "memory_limit": "80GiB",
            }
        ],
    },
}
