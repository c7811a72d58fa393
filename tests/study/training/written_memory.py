"""What becomes of the memory that a pretrained decoder writes, where the next segment reads it.

``python -m tests.study.training.written_memory CHECKPOINT ... --backbone FOLDER --text FOLDER``.

Two segments of a few windows of validation text are read. At the memory positions of the second
stands what the first wrote, as it is or changed without any training, or the embeddings of its last
tokens. Written is a csv: how many of these vectors are massive after the first layer, how large the
dimension is that is largest in their mean, and how far documents are apart in later layers.

Shape legend: B windows, N tokens of a segment, M memory tokens, C of them that carry, E width.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.tokenizer import TextTokenizer
from rmtscale.study.training.language.checkpoint import load_language_checkpoint

MASSIVE = 10.0
"""Root mean square of a massive vector, as a multiple of the median one of the text beside it."""
LAYERS = (4, 12, 24)
"""After which documents are held against each other."""


def rms(values: Tensor) -> Tensor:
    return values.square().mean(-1).sqrt()


def windows(tokenizer: TextTokenizer, documents: list[str], count: int, tokens: int) -> Tensor:
    """Draws windows of so many tokens from documents, none of them twice, (B, tokens)."""
    cut = []
    for ids in map(tokenizer.encode, documents):
        cut += [ids[at : at + tokens] for at in range(0, len(ids) - tokens + 1, tokens)]
    chosen = np.random.default_rng(0).choice(len(cut), count, replace=False)
    return torch.from_numpy(np.stack([cut[index] for index in chosen]).astype(np.int64))


def variants(written_BCE: Tensor, text_BNE: Tensor) -> dict[str, Tensor]:
    """Returns what stands at the positions that carry: nothing is trained for any of them."""
    carried = written_BCE.shape[1]
    mean_E, spread_E = written_BCE.mean((0, 1)), written_BCE.std((0, 1))
    largest = int(mean_E.abs().argmax())
    without = written_BCE.clone()
    without[..., largest] = 0
    typical = rms(text_BNE).mean()
    scaled = written_BCE / rms(written_BCE)[..., None] * typical
    placed = (written_BCE - mean_E) / spread_E * text_BNE.std((0, 1)) + text_BNE.mean((0, 1))
    return {
        "written": written_BCE,
        "written, at the size of embeddings": scaled,
        f"written, dimension {largest} at 0": without,
        f"written, dimension {largest} at 0, at the size of embeddings": (
            without / rms(without)[..., None] * typical
        ),
        "written, at mean and spread of embeddings": placed,
        f"embeddings of the last {carried} tokens": text_BNE[:, -carried:],
    }


@torch.no_grad()
def measured(
    checkpoint: Path, backbone: str | None, text: str, count: int, tokens: int
) -> list[dict[str, str]]:
    """Measures each kind of vector, a row for each."""
    loaded = load_language_checkpoint(checkpoint, None, backbone)
    rmt: Any = loaded.predictor.rmt
    sinks = rmt.config.sink_tokens
    drawn = windows(loaded.tokenizer, load_background(text, "validation"), count, 2 * tokens)
    first_BNE, second_BNE = rmt.embedding_VE[drawn].split(tokens, 1)
    initial_BME = rmt.initial_state(count)
    written_BCE = rmt.step(initial_BME, first_BNE)[0][:, sinks:]
    decoder = rmt.backbone
    if hasattr(decoder, "merge_and_unload"):  # LoRA, in whose wrapper the layers have other names
        decoder = decoder.merge_and_unload()
    rows = []
    for name, carried_BCE in variants(written_BCE, first_BNE).items():
        state_BME = torch.cat([initial_BME[:, :sinks], carried_BCE], 1)
        read = decoder.base_model(
            inputs_embeds=torch.cat([state_BME, second_BNE], 1), output_hidden_states=True
        ).hidden_states
        ends = state_BME.shape[1]
        sizes_BC, others = rms(read[1][:, sinks:ends]), rms(read[1][:, ends:]).median()
        mean_E = carried_BCE.mean((0, 1))
        row = {
            "checkpoint": checkpoint.name,
            "read_at_the_memory_positions": name,
            "vectors": str(sizes_BC.numel()),
            "rms": f"{float(rms(carried_BCE).mean()):.3f}",
            "largest_dimension": str(int(mean_E.abs().argmax())),
            "its_mean": f"{float(mean_E.abs().max()):.2f}",
            "massive_after_layer_1": str(int((sizes_BC > MASSIVE * others).sum())),
            "median_rms_after_layer_1": f"{float(sizes_BC.median()):.2f}",
            "of_text": f"{float(others):.2f}",
        }
        for layer in (one for one in LAYERS if one < len(read)):
            row[f"apart_after_layer_{layer}"] = f"{apart(read[layer][:, sinks:ends]):.4f}"
        rows.append(row)
    return rows


def apart(states_BCE: Tensor) -> float:
    """Returns one less the mean cosine of two documents at one position."""
    along_CBE = normalize(states_BCE, dim=-1).transpose(0, 1)
    cosines_CBB = along_CBE @ along_CBE.transpose(1, 2)
    return 1 - float(cosines_CBB[:, ~torch.eye(len(states_BCE), dtype=torch.bool)].mean())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--backbone")
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=96)
    given = parser.parse_args(arguments)
    rows = [
        row
        for checkpoint in given.checkpoints
        for row in measured(checkpoint, given.backbone, given.text, given.windows, given.tokens)
    ]
    out = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    out.writeheader()
    out.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
