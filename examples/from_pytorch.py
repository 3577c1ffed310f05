"""From a PyTorch teacher to a plan: make a task of your own network's logits.

python examples/from_pytorch.py
"""

import numpy as np
import torch
from torch import nn

import tutelage as tu


def main() -> None:
    """Train a small teacher on half of the digits, and plan its distillation on the other half."""
    data = tu.datasets.digits()
    order = np.random.default_rng(0).permutation(len(data.x))
    taught, pool, test = np.split(order, [800, 1300])
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    train(teacher, data.x[taught], data.y[taught])
    task = tu.Task(
        x_train=data.x[pool],
        teacher_logits_train=logits(teacher, data.x[pool]),
        y_train=data.y[pool],
        x_test=data.x[test],
        teacher_logits_test=logits(teacher, data.x[test]),
        y_test=data.y[test],
    )
    task.save("digits-task.npz")  # for: tutelage plan digits-task.npz
    plan = tu.plan(task, curves=tu.curves(task, tu.kernels.mlp(depth=2)))
    print(plan.recommended.why)
    print(plan.peers["torchdistill"])


def train(teacher: nn.Module, x: np.ndarray, y: np.ndarray) -> None:
    """Twenty epochs of Adam."""
    optimiser = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    inputs, labels = torch.as_tensor(x, dtype=torch.float32) / 16, torch.as_tensor(y)
    for _ in range(20):
        for batch in torch.randperm(len(inputs)).split(32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(teacher(inputs[batch]), labels[batch]).backward()
            optimiser.step()


def logits(teacher: nn.Module, x: np.ndarray) -> np.ndarray:
    """Raw scores before softmax."""
    with torch.no_grad():
        return teacher(torch.as_tensor(x, dtype=torch.float32) / 16).numpy()


if __name__ == "__main__":
    main()
