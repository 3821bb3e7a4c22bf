"""Training of the VQ decoder: from the codes of an image back to its pixels.

The codes come from `jobs.emoji.codebook`. The encoder that Janus keeps beside the decoder is not
used for generation and stays untrained.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.janus.modeling_janus import JanusVQVAE

from jobs.emoji.architecture import fast_bfloat16
from jobs.emoji.batches import Split

BATCH = 16
PEAK_LR = 2e-3
WARMUP_STEPS = 50
PER_CONCEPT = 6
LOG_EVERY = 25
SAVE_EVERY = 100


def decode(model: JanusVQVAE, codes: np.ndarray) -> Tensor:
    """Images [n, 3, 64, 64] of codes [n, 256]: `JanusVQVAE.decode` in bfloat16."""
    device = model.quantize.embedding.weight.device
    tokens: Any = torch.from_numpy(codes.astype(np.int64)).to(device)
    with fast_bfloat16(device):
        return model.decode(tokens).float()


def image_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 + L2 + L1 of the horizontal and vertical differences (keeps outlines sharp)."""
    error = made - real
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


class Trainer:
    """The decoder in training; resumes from `folder/vq.pt`, logs to `folder/vq.jsonl`."""

    def __init__(self, model: JanusVQVAE, split: Split, folder: Path) -> None:
        self._model, self._split = model, split
        modules = (model.decoder, model.post_quant_conv, model.quantize)
        self._parameters = [p for module in modules for p in module.parameters()]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=PEAK_LR, betas=(0.9, 0.95), weight_decay=0.01
        )
        self._checkpoint, self._log = folder / "vq.pt", folder / "vq.jsonl"
        self._step = 0
        if self._checkpoint.exists():
            state = torch.load(
                self._checkpoint, weights_only=True, map_location=self._parameters[0].device
            )
            self._model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step = state["step"]

    def train(self, steps: int) -> None:
        """Train up to `steps`, the learning rate falling along half a cosine."""
        rng = np.random.default_rng(self._step)
        order = np.empty(0, dtype=np.int64)
        losses: list[float] = []
        started = time.monotonic()
        while self._step < steps:
            if len(order) < BATCH:
                order = self._split.data.epoch(rng, PER_CONCEPT)
            rows, order = order[:BATCH], order[BATCH:]
            cosine = 0.5 * (1 + math.cos(math.pi * self._step / steps))
            losses.append(
                self._update(rows, PEAK_LR * min(cosine, (self._step + 1) / WARMUP_STEPS))
            )
            if self._step % LOG_EVERY == 0 or self._step == steps:
                record = {
                    "step": self._step,
                    "loss": round(float(np.mean(losses)), 4),
                    "images_per_s": round(len(losses) * BATCH / (time.monotonic() - started), 1),
                }
                with self._log.open("a") as log:
                    log.write(json.dumps(record) + "\n")
                losses.clear()
                started = time.monotonic()
            if self._step % SAVE_EVERY == 0 or self._step == steps:
                self._save()

    def _update(self, rows: np.ndarray, lr: float) -> float:
        made = decode(self._model, self._split.codes[rows])
        loss = image_loss(made, self._split.data.pixels(rows).to(made.device))
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._step += 1
        return loss.item()

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
        }
        fresh = self._checkpoint.with_suffix(".tmp")
        torch.save(state, fresh)
        fresh.replace(self._checkpoint)
