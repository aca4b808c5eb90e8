#!/usr/bin/env python3
"""Reference runs of the optimizers, by PyTorch and transformers.

Four parameters, twenty updates with given gradients, clipping by the global norm, a learning rate of its own for the
head, no decay on biases and layer norms, and a factor on all learning rates that changes from update to update. Run
with torch 2.x and transformers installed:

    python3 generate.py > optimizers.json
"""

import json
import math

import torch
from transformers.optimization import Adafactor

SHAPES = {"body.LayerNorm.weight": [5], "body.weight": [7, 5], "head.bias": [3], "head.weight": [3, 5]}
UPDATES, MAX_NORM, DECAY = 20, 2.0, 0.1
RATES = {"body": 0.01, "head": 0.05}


def rounded(tensor):
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def factor(update):
    """Warm-up over 3 updates, then half a cosine from 1 to 0.1 at update 12."""
    if update < 3:
        return (update + 1) / 3
    progress = min((update - 3) / 9, 1.0)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress))


def groups(params, scale, weight_decay):
    """One group for each parameter, as the rates and the exceptions from decay want it."""
    def decay(name):
        return 0.0 if name.endswith("bias") or "LayerNorm" in name else weight_decay

    rates = {name: scale * RATES[name.split(".")[0]] for name in params}
    return [{"params": [p], "lr": rates[name], "weight_decay": decay(name)} for name, p in params.items()]


def run(make, start, gradients, rate_scale=1.0, weight_decay=DECAY):
    params = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = make(groups(params, rate_scale, weight_decay))
    rates = [group["lr"] for group in optimizer.param_groups]
    norms = []
    for update, gradient in enumerate(gradients):
        for name, p in params.items():
            p.grad = gradient[name].clone()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(params.values()), MAX_NORM)))
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * factor(update)
        optimizer.step()
    return {"rate_scale": rate_scale, "weight_decay": weight_decay, "grad_norms": norms,
            "end": {name: rounded(p.detach()) for name, p in params.items()}}


def main():
    generator = torch.Generator().manual_seed(11)
    start = {n: torch.randn(s, generator=generator) for n, s in SHAPES.items()}
    # Small and large gradients, so that the limit is met in some updates only.
    gradients = [
        {n: torch.randn(s, generator=generator) * (0.05 if update % 3 == 0 else 1.0) for n, s in SHAPES.items()}
        for update in range(UPDATES)
    ]
    adafactor = {"scale_parameter": False, "relative_step": False}
    cases = {
        "adamw": lambda g: torch.optim.AdamW(g),
        "adamw_betas": lambda g: torch.optim.AdamW(g, betas=(0.8, 0.95), eps=1e-3),
        "sgd": lambda g: torch.optim.SGD(g),
        "sgd_momentum": lambda g: torch.optim.SGD(g, momentum=0.9),
        "sgd_nesterov": lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True),
        "adafactor": lambda g: Adafactor(g, lr=1.0, **adafactor),
        "adafactor_scaled": lambda g: Adafactor(g, lr=1.0, scale_parameter=True, relative_step=False, clip_threshold=0.5),
        "adafactor_momentum": lambda g: Adafactor(g, lr=1.0, beta1=0.9, decay_rate=-0.6, **adafactor),
    }
    # PyTorch's own Adafactor, whose decay is another one but whose relative step has a limit that can be set.
    relative = run(lambda g: torch.optim.Adafactor(g), start, gradients, 40.0, 0.0)
    print(json.dumps({
        "versions": {"torch": torch.__version__},
        "max_grad_norm": MAX_NORM,
        "learning_rates": RATES,
        "shapes": SHAPES,
        "start": {n: rounded(v) for n, v in start.items()},
        "gradients": [{n: rounded(v) for n, v in g.items()} for g in gradients],
        "cases": {name: run(make, start, gradients) for name, make in cases.items()} | {"adafactor_relative": relative},
    }))


if __name__ == "__main__":
    main()
