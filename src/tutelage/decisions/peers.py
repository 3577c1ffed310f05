"""The recommended loss in the words of other distillation tools.

Every tool weighs a soft and a hard term; only their ratio matters to where training ends, and a
common factor acts as a learning rate. With the tool's own power a' of the temperature, the soft
term of ``ρ T^a H_T + (1 - ρ) H`` has weight ρ T^(a - a') there.
"""

from typing import Any

Arguments = dict[str, Any]


def peers(soft_ratio: float, temperature: float, t_power: int) -> dict[str, Arguments | None]:
    """Give the arguments of each tool, or None where a tool cannot express the setting.

    Parameters
    ----------
    soft_ratio, temperature : float
    t_power : int

    Returns
    -------
    dict
        From the tool's name to its arguments.

    Examples
    --------
    >>> peers(0.9, 4.0, 2)["torchdistill"]
    {'alpha': 0.1, 'beta': 0.9, 'temperature': 4.0}
    >>> peers(0.9, 4.0, 2)["torchtune"] is None
    True
    """
    hard, t = _tidy(1 - soft_ratio), temperature
    squared = _tidy(soft_ratio * t ** (t_power - 2))  # soft weight where the tool multiplies by T²
    bare = _tidy(soft_ratio * t**t_power)  # and where it does not
    share = _tidy(squared / (squared + hard))  # where the weights must sum to one
    pure = soft_ratio == 1.0
    return {
        # With alpha 0 or None torchdistill leaves the temperature's square out: a factor, as
        # nothing else is weighed.
        "torchdistill": {"alpha": hard, "beta": squared, "temperature": t},
        "mdistiller": {
            "KD.TEMPERATURE": t,
            "KD.LOSS.KD_WEIGHT": squared,
            "KD.LOSS.CE_WEIGHT": hard,
        },
        "RepDistiller": {"--distill": "kd", "-r": hard, "-a": squared, "-b": 0, "--kd_T": t},
        "TextBrewer": {
            "kd_loss_type": "ce",
            "kd_loss_weight": bare,
            "hard_label_weight": hard,
            "temperature": t,
        },
        "NVIDIA Model Optimizer": {
            "criterion": f"LogitsDistillationLoss(temperature={t:g}, reduction='batchmean')",
            "kd_loss_weight": share,
        },
        "torchtune": {"kd_ratio": soft_ratio} if t == 1 else None,
        "TRL GKDTrainer": {"beta": 0.0, "lmbda": 0.0} if pure and t == 1 else None,
        "keras.distillation": {
            "student_loss_weight": _tidy(1 - share),
            "distillation_losses": (
                f"LogitsDistillation(temperature={t:g}, loss=keras.losses.KLDivergence())"
            ),
        },
        "DistillKit": {
            "loss_functions": [
                {"function": "kl", "weight": squared, "temperature": t},
                {"function": "cross_entropy", "weight": hard},
            ]
        },
    }


def _tidy(weight: float) -> float:
    return float(f"{weight:.10g}")
