"""What it costs to see which modules of a network are layers, beside a batch of its features.

python benchmarks/trial.py

A small MobileNetV2 (transformers, from its configuration), 10 classes, images of 32 × 32: the trial
of its layers against the features of one batch of 64 samples, and against every logit's gradient of
five samples by autograd. CPU seconds.
"""

import time
from collections.abc import Callable

import torch
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from tutelage.kernels.features import collect, layered
from tutelage.kernels.network import Network


def main() -> None:
    """Print the seconds of each."""
    torch.manual_seed(0)
    config = MobileNetV2Config(
        num_labels=10, image_size=32, depth_multiplier=0.35, finegrained_output=False
    )
    network, x = Network.of(MobileNetV2ForImageClassification(config)), torch.randn(64, 3, 32, 32)
    trial, (found, layers) = timed(lambda: layered(network, x))
    batch, _ = timed(lambda: collect(found, x, layers, list(range(10)), None, 0, 1e9))
    brute, _ = timed(lambda: by_autograd(network.module, x[:5]))
    parameters = sum(p.numel() for p in network.module.parameters())
    print(
        f"{parameters:,} parameters in {len(layers)} layers: trial {trial:.1f} s, a batch of 64"
        f" {batch:.1f} s, five samples by autograd {brute:.1f} s"
    )


def timed(run: Callable) -> tuple:
    """CPU seconds, and what came of them; the second of two runs."""
    run()
    started = time.process_time()
    found = run()
    return time.process_time() - started, found


def by_autograd(module: torch.nn.Module, x: torch.Tensor) -> None:
    """Every logit's gradient of every sample."""
    parameters = list(module.parameters())
    for row in x:
        for logit in module(row[None]).logits[0]:
            torch.autograd.grad(logit, parameters, retain_graph=True, materialize_grads=True)


if __name__ == "__main__":
    main()
