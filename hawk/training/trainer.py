"""Trainer of drafters: one process, resumable, measured on images that it never trains on.

It reports acceptance: the share of cells whose true token is among the best guesses under the
shared noise, by source and distance.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hawk.training.corpus import Corpus
from hawk.training.distillation import TOPS, cross_entropy, hits
from hawk.training.objectives import Objective, Predictions

PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.01
WARMUP_STEPS = 50
CLIP = 1.0
HELD_OUT = 0.08  # share of the images that are held out, at least one
VALIDATION_BATCHES = 12
SAVE_EVERY = 100
LOG_EVERY = 10


class DrafterTrainer:
    """Training of one objective on a corpus.

    Args:
        objective: Network and how it is trained.
        corpus: Recorded images, of which the last are held out.
        folder: Folder of the checkpoint `KIND.pt`, from which it resumes, and the log `KIND.jsonl`.
        steps: Batches of the whole training; the learning rate follows a cosine over them.
    """

    def __init__(self, objective: Objective, corpus: Corpus, folder: Path, *, steps: int) -> None:
        self._objective, self._corpus, self._steps = objective, corpus, steps
        images = len(corpus.tokens_IT)
        if images < 2:
            raise ValueError(f"training needs 2 recorded images or more, got {images}")
        held_out = max(1, round(images * HELD_OUT))
        self._train, self._held_out = range(images - held_out), range(images - held_out, images)
        self._checkpoint = folder / f"{objective.kind}.pt"
        self.log = folder / f"{objective.kind}.jsonl"
        self._optimizer = torch.optim.AdamW(
            objective.module.parameters(), PEAK_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            PEAK_RATE,
            total_steps=steps,
            pct_start=min(0.3, WARMUP_STEPS / steps),
            cycle_momentum=False,
        )

    def run(self, each: Callable[[int], object] = lambda _: None) -> dict[str, Any]:
        """Train from the last checkpoint to the end; returns the acceptance on held-out images.

        Args:
            each: Called with the number of steps done since the last call.
        """
        torch.manual_seed(0)
        done = self._resume()
        each(done)
        generator = torch.Generator().manual_seed(done)
        batches = self._objective.batches(self._corpus, self._train, generator)
        started = time.monotonic()
        for step in range(done + 1, self._steps + 1):
            loss = self._step(next(batches))
            if step % LOG_EVERY == 0:
                seconds = round((time.monotonic() - started) / (step - done), 3)
                self._write({"step": step, "loss": round(loss, 4), "seconds_a_step": seconds})
            if step % SAVE_EVERY == 0 or step == self._steps:
                self._save(step)
            each(1)
        acceptance = self.validate()
        self._write({"step": self._steps, "acceptance": acceptance})
        return acceptance

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Acceptance among the best 1, 2, 4, 8 by source, in all and by distance."""
        generator = torch.Generator().manual_seed(0)
        batches = self._objective.batches(self._corpus, self._held_out, generator)
        right: dict[str, Tensor] = defaultdict(lambda: torch.zeros(1, len(TOPS)))
        seen: dict[str, Tensor] = defaultdict(lambda: torch.zeros(1, 1))
        for _ in range(VALIDATION_BATCHES):
            predictions = self._objective.predict(self._corpus, next(batches))
            for name, scores in predictions.scores.items():
                there = predictions.there[name][..., None]
                noisy = predictions.sampler.filter(scores) + predictions.noise
                right[name] = right[name] + (hits(noisy, predictions.truth) & there).sum(0).cpu()
                seen[name] = seen[name] + there.sum(0).cpu()
        return {name: _shares(right[name], seen[name]) for name in right}

    def _step(self, places_B: Tensor) -> float:
        loss = loss_of(self._objective.predict(self._corpus, places_B))
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._objective.module.parameters(), CLIP)
        self._optimizer.step()
        self._schedule.step()
        return loss.item()

    def _resume(self) -> int:
        if not self._checkpoint.exists():
            return 0
        device = self._corpus.tokens_IT.device
        state = torch.load(self._checkpoint, weights_only=True, map_location=device)
        if state["steps"] != self._steps:
            raise ValueError(
                f"{self._checkpoint} is of {state['steps']} steps of training, not {self._steps}: "
                f"remove it to start anew"
            )
        self._objective.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return int(state["step"])

    def _save(self, step: int) -> None:
        fresh = self._checkpoint.with_suffix(".tmp")
        state = {
            "step": step,
            "steps": self._steps,
            "module": self._objective.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        torch.save(state, fresh)
        fresh.replace(self._checkpoint)

    def _write(self, entry: Mapping[str, Any]) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps(entry) + "\n")


def loss_of(predictions: Predictions) -> Tensor:
    """Weighted mean nats a cell over all sources."""
    losses = [
        weight * cross_entropy(predictions.scores[name], predictions.law, predictions.truth, there)
        for name, there in predictions.there.items()
        for weight in [predictions.weights[name]]
    ]
    return torch.stack(losses).sum() / sum(predictions.weights.values())


def _shares(right_X4: Tensor, seen_X1: Tensor) -> dict[str, Any]:
    whole = (right_X4.sum(0) / seen_X1.sum(0).clamp(min=1)).tolist()
    by_place = (right_X4 / seen_X1.clamp(min=1)).tolist()
    return {
        "top": {str(m): round(share, 3) for m, share in zip(TOPS, whole, strict=True)},
        "by_distance": [[round(share, 3) for share in row] for row in by_place],
    }
