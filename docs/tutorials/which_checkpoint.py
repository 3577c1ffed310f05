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
# # Which checkpoint of the teacher
#
# A teacher that was stopped early is often easier to learn from, and sometimes better. Give the
# logits of several checkpoints, and the plan ranks them, each at its own best setting.

# %%
import tutelage as tu

task = tu.lab.quick_task("digits", seed=0)
task.teacher_logits_train.shape, task.teacher_epochs

# %% [markdown]
# The teacher's logits have a leading axis of checkpoints, and `teacher_epochs` names them.

# %%
plan = tu.plan(task, soft_ratio=[0.1, 0.3, 1.0], temperature=[1.0, 4.0])
print("recommended:", plan.teacher.recommended_epoch)
for epoch in sorted(plan.teacher.epochs, key=lambda e: e.epoch):
    print(
        f"epoch {epoch.epoch:2d}: student's error {epoch.error:.1%} ± {epoch.error_se:.1%} at"
        f" soft ratio {epoch.soft_ratio:g}, T {epoch.temperature:g};"
        f" data inefficiency {epoch.data_inefficiency:.3f}"
    )

# %% [markdown]
# Errors that are within a standard error of each other are ties. Among ties the plan takes the
# checkpoint at which the soft ratio matters least.  *Data inefficiency* says how much the next
# sample still teaches at this many samples: 0 means nothing new. Compare checkpoints at the same
# setting:

# %%
n = plan.curves.n.values[-1]
one = plan.curves.data_inefficiency.sel(soft_ratio=1.0, temperature=4.0, n=n).mean("ordering")
one.to_pandas().round(3)

# %% [markdown]
# With networks that are stopped early on images it rises with the epoch: a teacher that was trained
# for long is harder to learn (see [what was checked](../evidence.md)). This teacher was trained on
# few digits, and its first checkpoints are noisy; noise is hard to learn, too.
