"""Our kernel of a torch network beside nngeometry's and the torch.func contraction of PyTorch's
tutorial.

    python benchmarks/empirical_kernel.py [--n 2000]

An MLP of 3 hidden layers of 1,024 on 784 features, and a small CNN on 3 × 32 × 32, both with 10
outputs, random weights, float32. Ours is the mean of the 10 diagonal output blocks; nngeometry 0.4
gives all 100 blocks, in an environment of its own under benchmarks/envs; the tutorial's contraction
holds whole Jacobians, so it is timed for the diagonal blocks on `--small` samples and its time is
scaled by the number of pairs. Values are compared on those.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from environments import environment

PINS = ("nngeometry==0.4", "torch==2.13.0", "numpy")

NETWORKS = """
import sys, time, numpy as np, torch
from torch import nn
kind, n, small, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.manual_seed(0)
if kind == "mlp":
    x, w = torch.randn(n, 784), 1024
    network = nn.Sequential(
        nn.Linear(784, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(),
        nn.Linear(w, 10))
else:
    x = torch.randn(n, 3, 32, 32)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8),
        nn.Flatten(), nn.Linear(32, 10))
"""
OURS = """
import tutelage as tu
kernel = tu.kernels.empirical(network)
kernel(x[:300])
started = time.perf_counter()
found = kernel(x)
print(time.perf_counter() - started)
np.save(out, found[:small, :small].numpy())
"""
CONTRACTION = """
from torch.func import functional_call, jacrev, vmap
parameters = {k: v.detach() for k, v in network.named_parameters()}
def one(p, sample):
    return functional_call(network, p, (sample[None],))[0]
x = x[:small]
started = time.perf_counter()
jacobians = [j.flatten(2) for j in vmap(jacrev(one), (None, 0))(parameters, x).values()]
found = sum(torch.einsum("Naf,Maf->NMa", j, j) for j in jacobians).mean(-1)
print((time.perf_counter() - started) * (n / small) ** 2)
np.save(out, found.numpy())
"""
NNGEOMETRY = """
from nngeometry.gram import GramMatrix
from nngeometry.object import FMatDense
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(x, torch.zeros(n)), batch_size=200)
started = time.perf_counter()
found = GramMatrix(network, loader, function=lambda *d: network(d[0])).to_torch()
print(time.perf_counter() - started)
blocks = torch.stack([found[c, :small, c, :small] for c in range(10)])
np.save(out, blocks.mean(0).detach().numpy())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--small", type=int, default=50)
    arguments = parser.parse_args()
    other = environment("nngeometry", PINS)
    for kind in ("mlp", "cnn"):
        ours, value = _run(Path(sys.executable), OURS, kind, arguments)
        print(f"{kind}, {arguments.n:,} samples: tutelage {ours:.2f} s")
        for name, python, code in (
            ("torch.func contraction", Path(sys.executable), CONTRACTION),
            ("nngeometry", other, NNGEOMETRY),
        ):
            seconds, theirs = _run(python, code, kind, arguments)
            far = np.abs(theirs - value).max() / np.abs(value).max()
            print(
                f"  {name}: {seconds:.1f} s, {seconds / ours:.1f} × ours; values differ by"
                f" {far:.0e} of the largest"
            )


def _run(
    python: Path, code: str, kind: str, arguments: argparse.Namespace
) -> tuple[float, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "block.npy"
        command = [
            python,
            "-c",
            NETWORKS + code,
            kind,
            str(arguments.n),
            str(arguments.small),
            str(out),
        ]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=dict(os.environ)
        )
        return float(done.stdout.split()[-1]), np.load(out)


if __name__ == "__main__":
    main()
