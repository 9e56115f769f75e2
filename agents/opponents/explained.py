"""What the names of opponents stand for, in a line each."""

from __future__ import annotations

from collections.abc import Mapping

EXPLAINED: Mapping[str, str] = {
    "adamw-cosine": "AdamW, rate 0.001 for all layers, down to 0 by half a cosine",
    "adamw-warmup-cosine": "the same after a linear warm-up over the first tenth of the updates",
    "adamw-layer-decay": "the same, but each layer group has 0.75 of the rate of the one above it, as BEiT and ViT are "
    "fine-tuned",
    "sgd-warmup-cosine": "SGD with momentum, rate 0.02 for all layers, warm-up and half a cosine",
    "prodigy": "Prodigy, which finds its rate by itself, with half a cosine",
    "schedule-free": "schedule-free AdamW, rate 0.0025: it averages its weights, and needs no schedule",
    "uniform": "SGD, rate 0.02 for all layers from start to end",
    "small-backbone": "SGD, rate 0.1 for the head and 0.003 for the backbone from start to end",
    "asg-sgd": "SGD as the ASG paper has it: 0.1 for the head and 0.01 for the backbone, warm-up, then polynomial "
    "decay",
    "cosine": "SGD, rate 0.05 for all layers, warm-up and half a cosine",
    "discriminative": "SGD, rate 0.1 for the head, divided by 2.6 from each layer group to the one below it, as ULMFiT "
    "does",
    "frozen-backbone": "SGD, rate 0.1 for the head, and a backbone that stays as it was pretrained",
    "random-init": "uniform, from random weights instead of the pretrained ones: its V starts elsewhere, so that its "
    "V-return is no match for the others'",
    "random": "rates drawn anew for each layer at each step, log-uniform between the limits of the action",
}
"""Hand-made opponents, by the names of ``OPPONENTS``."""
EXPLAINED_TUNED: Mapping[str, str] = {
    "tuned-adamw-cosine": "adamw-cosine at the best rate of a grid",
    "tuned-adamw-warmup-cosine": "adamw-warmup-cosine at the best rate of a grid",
    "tuned-adamw-layer-decay": "adamw-layer-decay at the best rate and decay of a grid",
    "tuned-sgd-warmup-cosine": "sgd-warmup-cosine at the best rate of a grid",
    "tuned-prodigy": "prodigy at the best factor on its rate",
    "tuned-schedule-free": "schedule-free at the best rate of a grid",
    "best-constant": "the best rate for all layers from start to end, in the environment's optimizer",
    "best-schedule": "the best rate and shape over time for all layers, in the environment's optimizer",
    "tuned-per-layer": "the best rate for each layer group from start to end, by cross-entropy search",
}
"""Opponents that are tuned, by the names of ``TUNED``; all by V on the very pair that they are tested on."""
