"""The claims of the paper, run again on real data and networks."""

from collections.abc import Callable

from tutelage.exceptions import SettingError, nearest
from tutelage.lab.claims import convergence, risk, teachers
from tutelage.lab.claims.claim import Claim
from tutelage.progress import Progress, silent

CLAIMS: dict[str, Callable[..., Claim]] = {
    "effective-logits": convergence.effective,
    "kernel-solution": convergence.kernel_solution,
    "transfer-risk": risk.transfer_risk,
    "data-inefficiency": risk.inefficiency,
    "perfect-teacher": teachers.perfect_teacher,
    "imperfect-teacher": teachers.imperfect_teacher,
}


def reproduce(
    claim: str, *, fast: bool = False, seed: int = 0, progress: Progress = silent
) -> Claim:
    """Run one of the paper's claims again.

    Parameters
    ----------
    claim : str
        One of `CLAIMS`.
    fast : bool
        Smaller pools and networks: a minute or two.
    seed : int
    progress : Progress

    Returns
    -------
    Claim

    Raises
    ------
    SettingError
        If there is no such claim.
    TaskError
        If it needs Fashion-MNIST, which is not installed.

    Examples
    --------
    >>> found = reproduce("perfect-teacher", fast=True)
    >>> found.says, found.held
    ('With a perfect teacher the best soft ratio is high.', True)
    """
    if claim not in CLAIMS:
        raise SettingError(
            f"There is no claim {claim!r}; choose one of"
            f" {', '.join(CLAIMS)}{nearest(claim, CLAIMS)}."
        )
    return CLAIMS[claim](fast=fast, seed=seed, progress=progress)
