"""How far a linearised network can be trusted: what a further training does to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tutelage.data.inputs import Inputs, length
from tutelage.data.part import decide
from tutelage.exceptions import StudentError
from tutelage.kernels.empirical import EmpiricalKernel
from tutelage.kernels.network import Network, logits_of

_SHARE = 1e-2  # of a step, that derivatives are taken over where autograd has none


@dataclass(frozen=True)
class Linearity:
    """What moved between two sets of weights of one network.

    Attributes
    ----------
    kernel_change : float
        1 less the cosine between the two kernels, 0 (the same but for scale) to 1.
    prediction_error : float
        Distance of the linearised predictions from the real ones, over how far these moved: 0 is a
        network that is linear in its weights, 1 a linearisation that tells nothing of the change.
    decision_agreement : float
        Share of the inputs that the linearised network decides as the real one.

    Examples
    --------
    >>> found = Linearity(kernel_change=0.05, prediction_error=0.12, decision_agreement=0.98)
    >>> found.words[:75]
    'In a further short training the linearised student follows the real one wel'
    """

    kernel_change: float
    prediction_error: float
    decision_agreement: float

    @property
    def words(self) -> str:
        """The three numbers as a sentence."""
        trust = (
            "well"
            if self.prediction_error < 0.3
            else "roughly"
            if self.prediction_error < 0.7
            else "poorly"
        )
        return (
            f"In a further short training the linearised student follows the real one {trust}: its"
            f" predictions miss {100 * self.prediction_error:.0f} % of the change,"
            f" {100 * self.decision_agreement:.1f} % of its decisions agree, and the kernel turns"
            f" by {100 * self.kernel_change:.0f} %."
        )


def linearity(before: nn.Module, after: nn.Module, x: Inputs) -> Linearity:
    """Measure how much a network's kernel and its linearised predictions move from one set of
    weights to another.

    Parameters
    ----------
    before, after : torch.nn.Module
        The same network, where it is linearised and after further training.
    x : Tensor of shape (n, ...), or dict of such tensors
        Some inputs; a few hundred are enough.

    Returns
    -------
    Linearity

    Raises
    ------
    StudentError
        If the two are not the same network, or have the same weights.

    Examples
    --------
    A linear network is linear in its weights:

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> found = linearity(torch.nn.Linear(3, 2), torch.nn.Linear(3, 2), torch.randn(20, 3))
    >>> round(found.kernel_change, 6), round(found.prediction_error, 5), found.decision_agreement
    (0.0, 0.0, 1.0)
    """
    start_network, moved_network = Network.of(before), Network.of(after)
    old, new = (
        dict(network.module.named_parameters()) for network in (start_network, moved_network)
    )
    if {n: p.shape for n, p in old.items()} != {n: p.shape for n, p in new.items()}:
        raise StudentError(
            "The two networks have different parameters; give one network before and after"
            " training."
        )
    step = {name: new[name].detach() - old[name].detach() for name in old}
    with torch.no_grad():
        start = start_network(x).detach()  # of a compiled script it can have a graph even so
    turn = _turn(Network.of(before), step, x)
    averages = dict(start_network.module.named_buffers())
    for name, buffer in moved_network.module.named_buffers():  # running averages are not weights
        buffer.copy_(averages[name])
    with torch.no_grad():
        real = moved_network(x).detach()
    change = torch.linalg.norm(real - start)
    if float(change) == 0:
        raise StudentError("The two networks give the same logits; train the second one further.")
    theta, theta_after = (EmpiricalKernel(Network.of(m))(x) for m in (before, moved_network.module))
    cosine = (theta * theta_after).sum() / (
        torch.linalg.norm(theta) * torch.linalg.norm(theta_after)
    )
    return Linearity(
        float((1 - cosine).clamp_min(0)),
        float(torch.linalg.norm(real - start - turn) / change),
        float((decide(real) == decide(start + turn)).double().mean()),
    )


def _turn(network: Network, step: dict[str, Tensor], x: Inputs) -> Tensor:
    """How the logits change along a step of the weights, to first order."""
    weights = {name: p.detach() for name, p in network.module.named_parameters()}
    ready = network.ready(x)
    given = ((), ready) if isinstance(ready, dict) else ((ready,), {})

    def logits(values: dict[str, Tensor]) -> Tensor:
        found: Tensor = logits_of(torch.func.functional_call(network.module, values, *given))
        return found.reshape(length(x), -1)

    try:
        with (
            sdpa_kernel(SDPBackend.MATH),
            _no_fast_path(),
        ):  # the fused kernels of attention have no forward derivative
            turn: Tensor = torch.func.jvp(logits, (weights,), (step,))[1]
    except (
        RuntimeError,
        NotImplementedError,
        AttributeError,
    ):  # nor have some layers, and compiled scripts
        turn = _difference(network, step, x)
    return turn


def _difference(network: Network, step: dict[str, Tensor], x: Inputs) -> Tensor:
    """The same by a central difference."""
    moved, found, weights = Network.of(network.module), [], dict(network.module.named_parameters())
    for share in (_SHARE, -_SHARE):
        # which makes modules forget what they have kept of other weights
        moved.module.train().eval()
        with torch.no_grad():
            for name, parameter in moved.module.named_parameters():
                parameter.copy_(weights[name] + share * step[name])
            found.append(moved(x).detach())
    return (found[0] - found[1]) / (2 * _SHARE)


@contextmanager
def _no_fast_path() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
