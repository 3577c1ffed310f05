# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     name: python3
#     display_name: Python 3
# ---

# %% [markdown]
# # A plan for a CNN of your own on images
#
# For a network of your own a plan trains a little: the network for a few epochs, to see which
# features it learns, and a few brief *pilots* that check the prediction. All of it costs less than
# one training of the network, whatever the number of settings.

# %%
import torch
from torch import nn

import tutelage as tu

digits = tu.lab.quick_task("digits", seed=0)  # a quick teacher on digits
task = tu.Task(
    digits.x_train[..., None],
    digits.teacher_logits_train[-1],
    digits.y_train,
    digits.x_test[..., None],
    digits.teacher_logits_test[-1],
    digits.y_test,
)
task.input_shape  # images with their channels last

# %% [markdown]
# A factory makes your network. It is called with the shape of one input, channels first, and the
# number of logits.


# %%
def small_cnn(input_shape, n_outputs):
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (height // 2) * (width // 2), n_outputs),
    )


# %% [markdown]
# Say how the student will be trained: its epochs and its learning rate. The plan predicts the error
# of a student that is trained like that.

# %%
student = tu.lab.TorchStudent(
    small_cnn, "small cnn", epochs=60, training=tu.lab.Training(learning_rate=0.05)
)
plan = tu.plan(
    task, student=student, soft_ratio=[0.1, 0.5, 1.0], temperature=[1.0, 4.0], regret=0.01
)
print(plan.summary())

# %% [markdown]
# `cost` says what the plan took, in trainings of the student, and what theory predicted of each
# pilot:

# %%
print(
    f"{plan.cost.trainings:.2f} trainings; expected regret {plan.cost.expected_regret:.2f} points"
)
for pilot in plan.cost.pilots:
    print(
        f"soft ratio {pilot.soft_ratio:g}, T {pilot.temperature:g}: predicted"
        f" {pilot.predicted:.1%}, real {pilot.real:.1%}"
    )

# %% [markdown]
# Train the student with `plan.loss()` in your own loop:

# %%
loss = plan.loss()
z = torch.randn(4, 10)
loss(z, torch.randn(4, 10), torch.tensor([1, 2, 3, 4]))
