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
# # The paper's theory by experiment
#
# Ji and Zhu (2020) show three things that a plan is built on. Each takes a few lines to see.
#
# ## A student ends at the effective logits
#
# With soft and hard labels in the loss, a student that fits its samples does not end at the
# teacher's logits. It ends where the gradient of the loss is zero: at the *effective logits*.
# `tu.effective_logits` computes them; gradient descent finds the same.

# %%
import numpy as np
import torch

import tutelage as tu

teacher = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
label = torch.tensor([1])
effective = tu.effective_logits(teacher, label, soft_ratio=0.6, temperature=2.0)

z = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
loss = tu.lab.DistillationLoss(0.6, 2.0)
optimiser = torch.optim.LBFGS(
    [z], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
)


def closure():
    optimiser.zero_grad()
    value = loss(z, teacher, label)
    value.backward()
    return value


optimiser.step(closure)
descended = (z - z.mean()).detach()
print("effective logits:", effective.numpy().round(4))
print("gradient descent:", descended.numpy().round(4))
assert torch.allclose(descended, effective - effective.mean(), atol=1e-3)

# %% [markdown]
# ## A label overrules a wrong teacher below a certain soft ratio
#
# That soft ratio is the *flip ratio*. The firmer the teacher errs, the lower it is.

# %%
for firm in (0.5, 2.0, 8.0):
    flip = tu.flip_ratio(
        torch.tensor([[firm, 0.0, -1.0]], dtype=torch.float64), label, temperature=1.0
    )
    print(f"teacher errs by {firm:g}: the label wins below a soft ratio of {float(flip):.2f}")

# %% [markdown]
# ## Soft labels make a task easier to learn
#
# *Data inefficiency* falls as the soft ratio rises: the teacher's outputs are smoother than labels.

# %%
task = tu.lab.quick_task("digits", seed=0)
curves = tu.curves(
    task, tu.kernels.mlp(), soft_ratio=[0.05, 0.3, 0.6, 1.0], temperature=[1.0], sizes=[200, 400]
)
falls = curves.data_inefficiency.sel(n=400, temperature=1.0, epoch=curves.epoch[-1]).mean(
    "ordering"
)
print(falls.to_pandas().round(3))
assert (np.diff(falls.values) < 0).all()

# %% [markdown]
# `tutelage reproduce all --fast` runs all of the paper's claims again, with real networks.
