"""How much of a net is trained: its head, layer4 and head, low-rank changes of layer4, or nothing.

Stem and layer1 to layer3 never move, and every batch norm stays in evaluation: its running statistics were
measured on far more faces than one user has photos. Fewer trained numbers for fewer data.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gaze_exp.models.l2cs import L2CS

FROZEN = ("conv1", "bn1", "layer1", "layer2", "layer3")
LATE = "layer4"


class Adapter(Protocol):
    """A choice of what to train."""

    trains: bool
    """False: a map behind the base is all there is."""
    trains_late: bool
    """False: the pooled features stay as they are, so that they alone need to be kept."""

    def prepare(self, net: L2CS) -> list[nn.Parameter]:
        """Freeze a net but for what is trained, and return that, each parameter once."""

    def finish(self, net: L2CS) -> None:
        """Leave a net of plain weights behind."""


class NothingTrained:
    """The base with an offset or a ridge affine map: `adapt=affine`."""

    trains = False
    trains_late = False

    def prepare(self, net: L2CS) -> list[nn.Parameter]:
        """Freeze all of it."""
        _freeze(net)
        return []

    def finish(self, net: L2CS) -> None:
        """Nothing was changed."""


class HeadOnly:
    """The regression head on features that stay: `adapt=head`."""

    trains = True
    trains_late = False

    def prepare(self, net: L2CS) -> list[nn.Parameter]:
        """Train what is no part of the trunk."""
        _freeze(net)
        return _trainable(head_parameters(net))

    def finish(self, net: L2CS) -> None:
        """Nothing was added."""


class Layer4AndHead:
    """The last of the four stages, and the head: `adapt=layer4`."""

    trains = True
    trains_late = True

    def prepare(self, net: L2CS) -> list[nn.Parameter]:
        """Train layer4, its batch norms' scale and shift included, and the head."""
        _freeze(net)
        return _trainable([*net.get_submodule(LATE).parameters(), *head_parameters(net)])

    def finish(self, net: L2CS) -> None:
        """Nothing was added."""


class LowRank:
    """Low-rank changes of layer4's convolutions, and the head: `adapt=lora`.

    Args:
        rank: of each change.
        scale: factor before it.

    Source:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021; a convolution's kernel is taken as the
        matrix (out, in * height * width).
    """

    trains = True
    trains_late = True

    def __init__(self, *, rank: int = 8, scale: float = 1.0) -> None:
        self.rank = rank
        self.scale = scale

    def prepare(self, net: L2CS) -> list[nn.Parameter]:
        """Add a change that starts at zero to every convolution of layer4."""
        _freeze(net)
        changes: list[nn.Parameter] = []
        for convolution in _convolutions(net):
            change = LowRankChange(convolution.weight, rank=self.rank, scale=self.scale)
            parametrize.register_parametrization(convolution, "weight", change)
            convolution.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]
            changes += change.parameters()
        return _trainable([*changes, *head_parameters(net)])

    def finish(self, net: L2CS) -> None:
        """Add the changes to the weights, so that the net has its plain form and cost again."""
        for convolution in _convolutions(net):
            if parametrize.is_parametrized(convolution, "weight"):
                parametrize.remove_parametrizations(convolution, "weight")


class LowRankChange(nn.Module):
    """weight -> weight + scale * up @ down."""

    def __init__(self, weight: Tensor, *, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.scale = scale
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Change a kernel of any shape."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def head_parameters(net: L2CS) -> list[nn.Parameter]:
    """What stands behind the trunk."""
    trunk = (*FROZEN, LATE)
    return [p for name, p in net.named_parameters() if name.partition(".")[0] not in trunk]


def _convolutions(net: L2CS) -> list[nn.Conv2d]:
    return [module for module in net.get_submodule(LATE).modules() if isinstance(module, nn.Conv2d)]


def _freeze(net: L2CS) -> None:
    """Evaluation mode everywhere: a batch norm in training would replace its statistics by those of a few photos."""
    net.eval().requires_grad_(requires_grad=False)


def _trainable(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    assert len({id(p) for p in parameters}) == len(parameters), "a parameter is listed twice"
    for parameter in parameters:
        parameter.requires_grad = True
    return parameters
