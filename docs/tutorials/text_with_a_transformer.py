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
# # Text with a student of transformers
#
# What you have: a table with token ids, labels and a column of the teacher's logits, and a folder
# with a model's configuration. This tutorial makes both in small: sentences of made-up words, and a
# BERT of one layer. It needs the extras `data` and `hf`.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import BertConfig

import tutelage as tu

rng, folder = np.random.default_rng(0), Path(tempfile.mkdtemp())
weights = rng.normal(size=(200, 3))  # what each word says of each of three topics


def sentences(n):
    ids = [rng.integers(1, 200, size=rng.integers(4, 12)).tolist() for _ in range(n)]
    topic = np.stack([weights[i].mean(0) for i in ids]) * 3
    return pd.DataFrame(
        {
            "text": [" ".join(f"word{k}" for k in i) for i in ids],
            "input_ids": ids,
            "label": np.array(["news", "science", "sport"])[topic.argmax(1)],
            "teacher_logits": list(topic + rng.normal(size=topic.shape)),
        }
    )


BertConfig(
    vocab_size=200,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=16,
).save_pretrained(folder / "student")
task = tu.Task.of(sentences(600), sentences(400))
task.notes

# %% [markdown]
# Columns are found by their names; `columns={"labels": "section"}` says it where they have others.
# On the command line it is `tutelage plan pool.parquet --columns labels=section`.  Now the plan.
# The student is the folder; it is trained with AdamW.

# %%
student = tu.lab.student(
    f"hf:{folder / 'student'}",
    epochs=6,
    training=tu.lab.Training(learning_rate=2e-3, optimiser="adamw", batch_size=32),
)
plan = tu.plan(task, student=student, soft_ratio=[0.1, 0.5, 1.0], temperature=[1.0, 4.0])
print(plan.summary())

# %% [markdown]
# The samples on which teacher and label differ, as text:

# %%
for i in plan.teacher.teacher_corrects_label[:3]:
    teacher = task.class_names[task.teacher_logits_train[i].argmax()]
    print(
        f"{i}: label {task.class_names[task.y_train[i]]}, teacher {teacher}: {task.texts[i][:60]} …"
    )

# %% [markdown]
# In your own training loop, `tutelage.hf.DistillationTrainer(model, arguments, train_dataset=train,
# loss=plan.loss())` is a `transformers.Trainer` with the planned loss.
