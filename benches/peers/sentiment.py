#!/usr/bin/env python3
"""Fine-tuning by PyTorch, the reference for `cargo run --example sentiment`.

    python3 sentiment.py --model DIR --train amazon.csv --test yelp.csv [--updates 200] [--threads 1] > reference.json

Same start, same batches, same optimizer: update i takes rows 32·i to 32·i + 31 of the training file, over and over;
mean pooling, a linear head whose weights are 0.02·sin(0.7·k) in row-major order; no dropout; AdamW at 2e-5 (head 1e-3)
with decay 0.01 on everything but biases and layer norms; gradients clipped to a norm of 1. The CSV files have the
columns text and label. Needs torch, transformers, tokenizers, safetensors, numpy.
"""

import argparse
import csv
import json
import os
import sys

import numpy as np
import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer

BATCH = 32


def load_encoder(directory, dtype):
    """The encoder in F32; undoes the u8 row quantisation where NAME.scale exists."""
    with safe_open(os.path.join(directory, "model.safetensors"), "np") as file:
        raw = {name: file.get_tensor(name) for name in file.keys()}
    state = {}
    for name, value in raw.items():
        if name.endswith(".scale") or name.startswith("pooler."):
            continue
        if value.dtype == np.uint8:
            value = (value.astype(np.float32) - np.float32(128)) * raw[name + ".scale"][:, None]
        if value.dtype.kind == "f":
            state[name] = torch.from_numpy(value.astype(np.float32))
    config = transformers.BertConfig.from_json_file(os.path.join(directory, "config.json"))
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = transformers.BertModel(config, add_pooling_layer=False)
    model.load_state_dict(state, strict=True)
    return model.to(dtype)


class Classifier(torch.nn.Module):
    def __init__(self, encoder, dtype):
        super().__init__()
        self.encoder, width = encoder, encoder.config.hidden_size
        self.head = torch.nn.Linear(width, 2, dtype=dtype)
        with torch.no_grad():
            k = np.arange(2 * width, dtype=np.float64)
            self.head.weight.copy_(torch.from_numpy((0.02 * np.sin(0.7 * k)).astype(np.float32)).view(2, width))
            self.head.bias.zero_()

    def forward(self, rows):
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * weight).sum(1) / weight.sum(1))


def read(path, tokenizer):
    with open(path, encoding="utf8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [tokenizer.encode(row["text"]).ids for row in rows], [int(row["label"]) for row in rows]


@torch.no_grad()
def accuracy(model, data):
    texts, labels = data
    right = 0
    for at in range(0, len(texts), BATCH):
        found = model(texts[at:at + BATCH]).argmax(1).tolist()
        right += sum(a == b for a, b in zip(found, labels[at:at + BATCH]))
    return right / len(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "train", "test"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    train, test = read(args.train, tokenizer), read(args.test, tokenizer)
    dtype = getattr(torch, args.dtype)
    model = Classifier(load_encoder(args.model, dtype), dtype)
    groups = {}
    for name, parameter in model.named_parameters():
        key = (1e-3 if name.startswith("head.") else 2e-5, 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01)
        groups.setdefault(key, []).append(parameter)
    optimizer = torch.optim.AdamW([{"params": p, "lr": k[0], "weight_decay": k[1]} for k, p in groups.items()])
    before, losses = accuracy(model, test), []
    for update in range(args.updates):
        rows = [(BATCH * update + i) % len(train[0]) for i in range(BATCH)]
        loss = torch.nn.functional.cross_entropy(model([train[0][r] for r in rows]), torch.tensor([train[1][r] for r in rows]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(f"{loss.item():.9g}"))
        print(f"\r{update + 1} of {args.updates}: {losses[-1]:.4f}", end="", file=sys.stderr)
    print(json.dumps({"torch": torch.__version__, "dtype": args.dtype, "losses": losses, "accuracy_before": before,
                      "accuracy": accuracy(model, test)}))


if __name__ == "__main__":
    main()
