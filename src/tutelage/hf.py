"""Distillation in the training loop of Hugging Face: `transformers.Trainer` with a planned loss.

Tested with transformers 5.24 and accelerate 1.15.
"""

from typing import Any

from torch import Tensor

from tutelage.exceptions import SettingError
from tutelage.kernels.network import logits_of
from tutelage.lazy import extra
from tutelage.train.loss import DistillationLoss

transformers = extra("transformers", "tutelage.hf needs transformers", "hf")
COLUMNS = ("teacher_logits", "teacher_log_probs")


class DistillationTrainer(transformers.Trainer):  # type: ignore[misc, name-defined]
    """A `transformers.Trainer` that distils: its data set has a column of the teacher's logits.

    Parameters
    ----------
    *args
        As of `transformers.Trainer`.
    loss : DistillationLoss
        Such as a plan's, ``plan.loss()``.
    **kwargs
        As of `transformers.Trainer`. The data set has, beside the network's inputs and `labels`
        (-100: not labelled), a column `teacher_logits` or `teacher_log_probs`, which stays in the
        batches. Of an evaluation's data set without that column the labels' cross-entropy is given.

    Examples
    --------
    >>> import tempfile, datasets
    >>> from transformers import BertConfig, BertForSequenceClassification, TrainingArguments
    >>> rows = {"input_ids": [[1, 2], [1, 3]] * 8, "labels": [0, 1] * 8,
    ...         "teacher_logits": [[2.0, -2.0], [-2.0, 2.0]] * 8}
    >>> small = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = DistillationTrainer(
    ...         BertForSequenceClassification(small),
    ...         TrainingArguments(
    ...             folder, max_steps=2, report_to=[], disable_tqdm=True, use_cpu=True),
    ...         train_dataset=datasets.Dataset.from_dict(rows),
    ...         loss=DistillationLoss(soft_ratio=0.9, temperature=4.0),
    ...     )
    ...     trainer.train().global_step  # doctest: +ELLIPSIS
    {...}
    2
    """

    def __init__(self, *args: Any, loss: DistillationLoss, **kwargs: Any) -> None:
        if not isinstance(loss, DistillationLoss):
            raise SettingError(
                f"loss is {type(loss).__name__}; expected a DistillationLoss, such as plan.loss()."
            )
        super().__init__(*args, **kwargs)
        self.distillation_loss = loss
        # The loss is a mean over the batch, which Trainer divides by the steps that it accumulates.
        self.model_accepts_loss_kwargs = False

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [n for n in COLUMNS if n not in self._signature_columns]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Give the loss of a batch, see `transformers.Trainer.compute_loss`.

        Raises
        ------
        SettingError
            If a batch of training lacks the teacher's column.
        """
        known = [name for name in COLUMNS if name in inputs]
        others = {k: v for k, v in inputs.items() if k not in (*COLUMNS, "labels")}
        outputs, labels = model(**others), inputs.get("labels")
        logits = logits_of(outputs)
        if known:
            loss = self._distilled(logits, inputs[known[0]], labels)
        elif model.training or labels is None:
            raise SettingError(
                f"A batch has {', '.join(sorted(inputs))}; expected a column {' or '.join(COLUMNS)}"
                " in the data set. Where a collator drops it, pass it on."
            )
        else:
            loss = DistillationLoss(0.0, 1.0)(logits, logits, labels)
        if not return_outputs:
            return loss
        return loss, (loss, *outputs) if isinstance(outputs, tuple) else outputs

    def _distilled(self, logits: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        loss: Tensor = self.distillation_loss(logits, teacher.to(logits), labels)
        return loss
