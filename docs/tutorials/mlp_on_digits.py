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
# # A plan for an MLP on digits
#
# You have a teacher and a pool of samples, and want to train a small student on the teacher's soft
# outputs. This tutorial makes a plan: it says which soft ratio and temperature the loss should
# have, and what error the student will have.  The data are scikit-learn's digits, and the teacher
# is a support vector machine that has seen other samples than the pool.

# %%
import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC

import tutelage as tu

x, y = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(x))
x, y = x[order].astype(np.float32) / 16, y[order]
taught, pool, test = slice(0, 150), slice(150, 750), slice(750, 1500)

teacher = SVC().fit(x[taught], y[taught])
logits = 2 * teacher.decision_function(x)
print(f"The teacher is wrong on {(logits[test].argmax(1) != y[test]).mean():.1%} of the test part.")

# %% [markdown]
# A `Task` holds what a plan needs: the inputs of the pool, the teacher's logits of them, their
# labels, and the same of a test part. The pool must be samples that the teacher has not been
# trained on. Its errors are hidden on those it has seen.

# %%
task = tu.Task(
    x_train=x[pool],
    teacher_logits_train=logits[pool],
    y_train=y[pool],
    x_test=x[test],
    teacher_logits_test=logits[test],
    y_test=y[test],
)
task

# %% [markdown]
# The student is an MLP with two hidden layers. By default it is infinitely wide, and then no
# student is trained: everything is computed.

# %%
plan = tu.plan(task, student="mlp:depth=2")
print(plan.summary())

# %% [markdown]
# The first line is the decision. `verdict` says how much it matters: *clear* means that other
# settings are worse, *flat* that tuning is not worth your time, *labels suffice* that a small
# weight on the teacher is as good as a large one.  `plan.curves` has every predicted number, here
# the error by soft ratio with all samples:

# %%
n = plan.curves.n.values[-1]
100 * plan.curves.error.sel(n=n).mean("ordering").to_pandas().round(4)

# %% [markdown]
# ## Is it true?
#
# Train real students at the recommended setting and at a usual default, and count their errors.

# %%
best = plan.recommended
settings = [(best.soft_ratio, best.temperature), (1.0, best.temperature)]
student = tu.lab.student("mlp:width=256,depth=2", epochs=30)
real = tu.lab.distil(task, student, settings, seeds=1)
for k, (rho, temperature) in enumerate(settings):
    here = plan.curves.error.sel(soft_ratio=rho, temperature=temperature, n=n)
    print(
        f"soft ratio {rho:g}: predicted {float(here.mean()):.1%}, real"
        f" {float(real.error[k].mean()):.1%}"
    )

# %% [markdown]
# `plan.save("my-plan")` writes `plan.json`, `curves.nc` and `report.html`, and `plan.loss()` is the
# loss to train with.
