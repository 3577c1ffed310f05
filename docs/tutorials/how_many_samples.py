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
# # How many samples to label
#
# A plan says how the error falls with the number of samples, how many reach a target, and which
# samples to label next.

# %%
import numpy as np

import tutelage as tu

task = tu.lab.quick_task("digits", seed=0)
plan = tu.plan(task, target_error=0.03, soft_ratio=[0.1, 0.5, 1.0], temperature=[2.0])
plan.samples.target

# %% [markdown]
# `n` is read off the curve where the pool reaches the target, with a 90 % interval. Beyond the pool
# it is extrapolated, and `extrapolated` says so. The curve itself:

# %%
for n, error, se in zip(plan.samples.sizes, plan.samples.error, plan.samples.error_se, strict=True):
    print(f"{n:4d} samples: {error:5.1%} ± {se:.1%}")

# %% [markdown]
# What would another thousand bring?

# %%
plan.samples.next_1000

# %% [markdown]
# ## A pool of which a part is labelled
#
# A label of −100 means *not labelled*. Such a sample learns from the teacher alone. Here only every
# fourth sample has a label:

# %%
y = np.where(np.arange(task.n_train) % 4 == 0, task.y_train, -100)
partly = tu.Task(
    task.x_train,
    task.teacher_logits_train[-1],
    y,
    task.x_test,
    task.teacher_logits_test[-1],
    task.y_test,
)
plan = tu.plan(partly, soft_ratio=[0.1, 0.5, 1.0], temperature=[2.0])
plan.samples.labelled

# %% [markdown]
# That is what labels of all samples are expected to take off the error. And these are the samples
# to label first, by their position in the pool:

# %%
first = plan.teacher.label_next[:30]
wrong = partly.teacher_logits_train.argmax(1) != task.y_train
print(first[:10])
print(
    f"The teacher is wrong on {wrong[first].mean():.0%} of the first 30, and on"
    f" {wrong.mean():.0%} of the pool."
)
