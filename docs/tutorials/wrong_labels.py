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
# # Finding wrong labels
#
# Where teacher and label differ, one of them is wrong. A plan sorts these samples by the vote of
# students that have not seen them. Here one label in eight is made wrong on purpose, so that the
# lists can be checked.

# %%
import numpy as np

import tutelage as tu

clean = tu.lab.quick_task("digits", seed=0)
rng = np.random.default_rng(0)
spoilt = rng.permutation(clean.n_train)[: clean.n_train // 8]
y = clean.y_train.copy()
y[spoilt] = (y[spoilt] + rng.integers(1, 10, size=len(spoilt))) % 10
task = tu.Task(
    clean.x_train,
    clean.teacher_logits_train[-1],
    y,
    clean.x_test,
    clean.teacher_logits_test[-1],
    clean.y_test,
)
plan = tu.plan(task, soft_ratio=[0.1, 0.3, 0.6, 1.0], temperature=[1.0, 4.0])
print(plan.summary())

# %% [markdown]
# How many labels are wrong? The plan compares how often the teacher agrees with the labels of the
# pool and with those of the test part.

# %%
told = plan.teacher.wrong_labels
print(f"{told.share:.1%} of the labels are wrong (90 %: {told.low:.1%} to {told.high:.1%}).")
print(f"Really: {len(spoilt) / task.n_train:.1%}.")

# %% [markdown]
# Which ones? `suspect_labels` starts with the most suspicious label.

# %%
first = np.array(plan.teacher.suspect_labels[: len(spoilt)])
print(f"{np.isin(first, spoilt).mean():.0%} of the first {len(first)} are really wrong.")

# %% [markdown]
# `teacher_corrects_label` are those among them on which students that have not seen the sample side
# with the teacher. How many of them are really wrong, and how many of
# the wrong ones are among them?

# %%
listed = np.array(plan.teacher.teacher_corrects_label)
print(f"{np.isin(listed, spoilt).mean():.0%} of {len(listed)} listed labels are wrong,")
print(f"{np.isin(spoilt, listed).mean():.0%} of {len(spoilt)} wrong labels are listed.")

# %% [markdown]
# `label_corrects_teacher` are samples on which the teacher is wrong, and the label mends it:

# %%
listed = np.array(plan.teacher.label_corrects_teacher, dtype=int)
right = clean.y_train[listed] == y[listed]
print(f"{right.sum()} of {len(listed)} have a right label.")

# %% [markdown]
# These are lists to look at, not verdicts. The report shows the samples as pictures or text, and
# lets you download each list as CSV.
