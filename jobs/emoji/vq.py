"""Training of the VQ tokenizer: images to 16 x 16 codes and back.

The codebook is l2-normalised (Yu et al., ViT-VQGAN, arXiv 2110.04627, section 3.2) as
`JanusVQVAE.decode` expects; codes that no image uses are moved onto encoder outputs.
"""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.janus.modeling_janus import JanusVQVAE

from jobs.emoji.architecture import vq_config
from jobs.emoji.dataset import EmojiData, shifted

BATCH = 16
PEAK_LR = 1.5e-3
OPPONENT = (
    (0.4, 0.5, 0.2),
    (2.0, -2.0, 0.0),
    (1.2, 1.2, -2.4),
)  # brightness, red-green, yellow-blue
RESTART_EVERY = 25  # steps; also writes the log
PER_CONCEPT = 8
SAVE_EVERY = 200


def encode(model: JanusVQVAE, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-length latents [n, 8, 16, 16] and the index of their nearest code [n, 256]."""
    latents = F.normalize(model.quant_conv(model.encoder(pixels)).float(), dim=1)
    codes = F.normalize(model.quantize.embedding.weight.float(), dim=1)
    return latents, torch.einsum("ndhw,kd->nhwk", latents, codes).argmax(-1).flatten(1)


def image_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 + L2 + L1 of the horizontal and vertical differences (keeps outlines sharp).

    Taken of brightness and colour apart, colour weighted up: in plain RGB the outlines of
    brightness dominate so much that for a long time only one axis of colour is learned.
    """
    error = torch.einsum("nchw,oc->nohw", made - real, made.new_tensor(OPPONENT))
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    areas = F.avg_pool2d(error, 4).abs().mean()
    return error.abs().mean() + error.square().mean() + edges + 3 * areas


def step_loss(model: JanusVQVAE, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Training loss, indices used, latents."""
    with torch.autocast(pixels.device.type, torch.bfloat16):
        latents, indices = encode(model, pixels)
        n, dim, height, width = latents.shape
        picked = F.normalize(model.quantize.embedding(indices).float(), dim=-1)
        picked = picked.view(n, height, width, dim).permute(0, 3, 1, 2)
        straight_through = latents + (picked - latents).detach()
        made = model.decoder(model.post_quant_conv(straight_through))
    codebook = (picked - latents.detach()).square().sum(1).mean()
    commitment = (picked.detach() - latents).square().sum(1).mean()
    return image_loss(made.float(), pixels) + codebook + 0.25 * commitment, indices, latents


@torch.no_grad()
def restart_dead(model: JanusVQVAE, used: Tensor, latents: Tensor, rng: np.random.Generator) -> int:
    """Move every code that was not used lately onto a latent that its nearest code fits badly.

    Drawn in proportion to the squared error: a uniform draw would mostly pick white background.
    """
    dead = torch.nonzero(used == 0).flatten()
    pool = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    codes = F.normalize(model.quantize.embedding.weight, dim=1)
    error = (2 - 2 * (pool @ codes.T).amax(1)).clamp(min=0).double().numpy()
    picks = rng.choice(len(pool), len(dead), replace=False, p=error / error.sum())
    model.quantize.embedding.weight[dead] = pool[torch.from_numpy(picks)]
    return len(dead)


class Trainer:
    """The VQ model in training; resumes from `folder/vq.pt`, logs to `folder/vq.jsonl`."""

    def __init__(self, data: EmojiData, folder: Path) -> None:
        torch.manual_seed(0)
        self.model = JanusVQVAE(vq_config())
        torch.nn.init.normal_(self.model.quantize.embedding.weight)
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=PEAK_LR, betas=(0.9, 0.95), weight_decay=0.01
        )
        self._data = data
        self._checkpoint, self._log = folder / "vq.pt", folder / "vq.jsonl"
        self._step = 0
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step = state["step"]

    def train(self, steps: int) -> JanusVQVAE:
        """Train up to `steps`; returns the model with a codebook of unit length."""
        rng = np.random.default_rng(self._step)
        order = np.empty(0, dtype=np.int64)
        used = torch.zeros(self.model.quantize.num_embeddings)
        self.model.train()
        started, first = time.monotonic(), self._step
        while self._step < steps:
            if len(order) < BATCH:
                order = self._data.epoch(rng, PER_CONCEPT)
            rows, order = order[:BATCH], order[BATCH:]
            dx, dy = (int(shift) for shift in rng.integers(-2, 3, 2))
            pixels = shifted(self._data.pixels(rows), dx, dy)
            loss, indices, latents = self._update(pixels, _learning_rate(self._step, steps))
            used += torch.bincount(indices.flatten(), minlength=len(used))
            if self._step % RESTART_EVERY == 0:
                if self._step < 0.7 * steps:
                    restart_dead(self.model, used, latents, rng)
                self._write_log(
                    loss=round(loss, 4),
                    unused_codes=int((used == 0).sum()),
                    images_per_s=round(
                        (self._step - first) * BATCH / (time.monotonic() - started), 1
                    ),
                )
                used.zero_()
            if self._step % SAVE_EVERY == 0 or self._step == steps:
                self._save()
        weight = self.model.quantize.embedding.weight
        weight.data = F.normalize(weight.data, dim=1)
        return self.model.eval()

    def _update(self, pixels: Tensor, lr: float) -> tuple[float, Tensor, Tensor]:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        loss, indices, latents = step_loss(self.model, pixels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._step += 1
        return loss.item(), indices, latents.detach()

    def _write_log(self, **numbers: float) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps({"step": self._step, **numbers}) + "\n")

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
        }
        fresh = self._checkpoint.with_suffix(".tmp")
        torch.save(state, fresh)
        fresh.replace(self._checkpoint)


def _learning_rate(step: int, steps: int) -> float:
    """A short warm-up, then half a cosine down to 2 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return PEAK_LR * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * cosine)
