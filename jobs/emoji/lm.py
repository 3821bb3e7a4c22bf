"""Training of the language model: caption in, 256 image codes out.

Matrices inside the blocks are trained with Muon (Jordan et al. 2024), everything else with AdamW;
without fast bfloat16, in which Muon orthogonalises, AdamW trains all, at half the rate.
The learning rate is constant and falls linearly over the last epochs, so that a run can be
prolonged from any checkpoint of the constant part. A moving average of the weights is what ships.
"""

import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from jobs.emoji.architecture import fast_bfloat16, has_fast_bfloat16
from jobs.emoji.batches import HIDDEN, Batch, Row, Split, batches, collate
from jobs.emoji.text import BOI, token_id

PEAK_LR = 2.5e-3
WARMUP_STEPS = 100
AVERAGE_DECAY = 0.998
# A sequence is padded to a multiple of this, so that torch compiles one shape, not one for each
# length of captions. What is behind an image is read by none of its codes.
LENGTH_STEP = 32
LOG_EVERY = 20
SAVE_EVERY = 100
EVALUATE_EVERY = 500


def code_loss(model: JanusForConditionalGeneration, batch: Batch) -> Tensor:
    """Cross entropy of the image codes, [n, 256] nats."""
    batch = batch.to(model.device)
    with fast_bfloat16(model.device):
        text = model.get_input_embeddings()(batch.text)
        seen = batch.seen[:, :-1]
        image = model.prepare_embeddings_for_image_generation(seen.clamp(min=0)).to(text.dtype)
        image = image * (seen != HIDDEN).unsqueeze(-1)
        inputs = torch.cat([text, image], dim=1)
        inputs = F.pad(inputs, (0, 0, 0, -inputs.shape[1] % LENGTH_STEP))
        states = model.model.language_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        first = batch.text.shape[1] - 1
        logits = model.model.generation_head(states[:, first : first + batch.codes.shape[1]])
    return F.cross_entropy(
        logits.float().flatten(0, 1), batch.codes.flatten(), reduction="none"
    ).view_as(batch.codes)


@torch.no_grad()
def held_out_loss(
    model: JanusForConditionalGeneration, split: Split, tokenizer: PreTrainedTokenizerFast
) -> float:
    """Mean nats a code over up to 256 rows of a split with their second caption."""
    boi = token_id(tokenizer, BOI)
    by_length: dict[int, list[Row]] = defaultdict(list)
    for row in range(0, len(split.data.images), max(1, len(split.data.images) // 256)):
        ids = [*tokenizer(split.data.captions[row][1])["input_ids"], boi]
        by_length[len(ids)].append((ids, split.codes[row], split.codes[row]))
    losses = [code_loss(model, collate(rows)).mean(1) for rows in by_length.values()]
    return torch.cat(losses).mean().item()


class Trainer:
    """A model in training, with its optimizers and the moving average of its weights.

    Args:
        model: trained in place, on the device where it is.
        tokenizer, splits: what it learns from; every split but `train` is only measured.
        folder: for `lm.pt`, from which it resumes, and the log `lm.jsonl`.
        batch: images of a step.
        compiled: whether torch compiles the layers; on a CPU that needs a C++ compiler.
    """

    def __init__(
        self,
        model: JanusForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        splits: dict[str, Split],
        folder: Path,
        *,
        batch: int,
        compiled: bool = False,
    ) -> None:
        self._model, self._tokenizer, self._splits = model, tokenizer, splits
        self._batch = batch
        if compiled:
            model.set_attn_implementation("eager")  # compiled, its backward is twice sdpa's speed
            model.model.language_model.compile(dynamic=False)
        self._checkpoint, self._log = folder / "lm.pt", folder / "lm.jsonl"
        self._parameters = trainable(model)
        self._average = [p.detach().clone() for p in self._parameters]
        self._optimizers = _optimizers(model, self._parameters)
        self._step = 0
        if self._checkpoint.exists():
            self._resume()

    def train(self, *, epochs: float, decay_epochs: float, per_concept: int) -> None:
        """Train up to `epochs`; the model ends with the averaged weights."""
        data = self._splits["train"].data
        epoch_rows = len(data.epoch(np.random.default_rng(0), per_concept))
        steps = round(epochs * epoch_rows / self._batch)
        decay_steps = max(1, round(decay_epochs * epoch_rows / self._batch))
        rng = np.random.default_rng(self._step + 1)
        source = batches(self._splits["train"], self._tokenizer, rng, per_concept, self._batch)
        peak_lr = PEAK_LR if has_fast_bfloat16(self._model.device) else PEAK_LR / 2
        self._model.train()
        losses: list[Tensor] = []
        started = time.monotonic()
        while self._step < steps:
            lr = peak_lr * min(
                1.0, (self._step + 1) / WARMUP_STEPS, (steps - self._step) / decay_steps
            )
            losses.append(self._update(next(source), lr))
            last = self._step == steps
            if self._step % LOG_EVERY == 0 or last:
                loss = torch.stack(losses).mean().item()  # waits for all steps so far
                seconds = time.monotonic() - started
                record = {
                    "step": self._step,
                    "epoch": round(self._step * self._batch / epoch_rows, 3),
                    "loss": round(loss, 4),
                    "lr": lr,
                    "images_per_s": round(len(losses) * self._batch / seconds, 2),
                }
                if self._step % EVALUATE_EVERY == 0 or last:
                    record |= self._held_out()
                with self._log.open("a") as log:
                    log.write(json.dumps(record) + "\n")
                losses.clear()
                started = time.monotonic()
            if self._step % SAVE_EVERY == 0 or last:
                self._save()
        self._swap()
        self._model.eval()

    def _update(self, batch: Batch, lr: float) -> Tensor:
        loss = code_loss(self._model, batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._step += 1
        decay = min(AVERAGE_DECAY, self._step / (self._step + 9))
        now = [p.detach() for p in self._parameters]
        torch._foreach_lerp_(self._average, now, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        return loss.detach()

    def _held_out(self) -> dict[str, float]:
        """Losses of the averaged weights."""
        self._swap()
        self._model.eval()
        with torch.compiler.set_stance("force_eager"):  # every batch has a shape of its own
            losses = {
                name: round(held_out_loss(self._model, split, self._tokenizer), 4)
                for name, split in self._splits.items()
                if name != "train"
            }
        self._swap()
        self._model.train()
        return losses

    def _swap(self) -> None:
        for p, mean in zip(self._parameters, self._average, strict=True):
            held = p.data.clone()
            p.data.copy_(mean)
            mean.copy_(held)

    def _save(self) -> None:
        state = {
            "parameters": [p.detach() for p in self._parameters],
            "average": self._average,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self._step,
        }
        fresh = self._checkpoint.with_suffix(".tmp")
        torch.save(state, fresh)
        fresh.replace(self._checkpoint)

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True, map_location=self._model.device)
        for p, saved in zip(self._parameters, state["parameters"], strict=True):
            p.data.copy_(saved)
        self._average = state["average"]
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._step = state["step"]


def _optimizers(
    model: JanusForConditionalGeneration, parameters: list[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    if not has_fast_bfloat16(model.device):
        return [torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=0.1)]
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=PEAK_LR, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=PEAK_LR, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def trainable(model: JanusForConditionalGeneration) -> list[nn.Parameter]:
    """What image generation uses, less the VQ model, which is trained before and frozen."""
    janus = model.model
    modules = (
        janus.language_model,
        janus.generation_embeddings,
        janus.generation_aligner,
        janus.generation_head,
    )
    return [p for module in modules for p in module.parameters()]
