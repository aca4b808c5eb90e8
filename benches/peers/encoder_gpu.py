#!/usr/bin/env python3
"""PyTorch on a GPU beside `experiment bench --device cuda:0`, the same cases in one run on one machine.

    benches/peers/encoder_gpu.py PEERS PROGRAM

PEERS is the folder of the peer scripts (their models and training steps are used), PROGRAM an experiment built with the
feature `cuda`. Both compute in F32 without TF32, as the program does. Prints one line for each case: ours, PyTorch, ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

MODES = {"forward": "forward", "full": "full_fused", "lora": "lora", "frozen_emb": "frozen_emb"}


def seconds(torch, call, repeats=15, block=0.05):
    """The middle of the seconds per call over blocks of calls, each call waited for."""
    def waited():
        call()
        torch.cuda.synchronize()

    for _ in range(5):
        waited()
    start = time.perf_counter()
    waited()
    calls = max(1, round(block / (time.perf_counter() - start)))
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            waited()
        samples.append((time.perf_counter() - start) / calls)
    return statistics.median(samples)


def peer(torch, bert, layers, mode, batch, tokens):
    torch.manual_seed(0)
    model = bert.Classifier(layers, 0.0, "sdpa").cuda()
    ids, mask, labels = (t.cuda() for t in bert.batch_of(batch, tokens, 0))
    if mode == "forward":
        model.eval()
        with torch.inference_mode():
            return seconds(torch, lambda: model.pooled(ids, mask))
    if mode == "lora":
        # The adapters are made by the step, on the CPU.
        bert.LoraLinear = type("Lora", (bert.LoraLinear,), {"__init__": on_the_gpu(bert.LoraLinear.__init__)})
    step, _ = bert.training_step(model, MODES[mode], ids, mask, labels)
    return seconds(torch, step)


def on_the_gpu(init):
    def made(self, *args):
        init(self, *args)
        self.cuda()

    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", help="folder of the peer scripts")
    parser.add_argument("program", help="an experiment built with the feature cuda")
    args = parser.parse_args()
    sys.path.insert(0, args.peers)
    import torch
    import bench_bert as bert

    torch.backends.cuda.matmul.allow_tf32 = False
    command = [args.program, "bench", "--device", "cuda:0", "--json"]
    table = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}")
    print(f"{'case':<28}{'ours, ms':>12}{'PyTorch, ms':>14}{'ratio':>9}")
    for figure in table["results"]:
        parts = figure["case"].split("/")
        ours = 1e3 * figure["median"]
        if len(parts) == 3 and parts[0] in bert.LAYERS and parts[1] in MODES:
            batch, tokens = (int(n) for n in parts[2][1:].split("xt"))
            theirs = 1e3 * peer(torch, bert, bert.LAYERS[parts[0]], parts[1], batch, tokens)
            print(f"{figure['case']:<28}{ours:>12.2f}{theirs:>14.2f}{ours / theirs:>9.2f}", flush=True)
        else:
            print(f"{figure['case']:<28}{ours:>12.2f}", flush=True)


if __name__ == "__main__":
    main()
