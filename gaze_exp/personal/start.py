"""Where fine-tuning begins: at the ridge affine map of the base, so that every step has to earn its keep.

Shapes: N photos, F features.
"""

import copy

import torch
from torch import Tensor

from gaze_exp.models.l2cs import L2CS
from gaze_exp.personal.baselines import ridge_affine
from gaze_exp.personal.model import PersonalModel, native_sign


def start_model(
    base: L2CS, features: Tensor, labels_deg: Tensor, *, target: Tensor, head: str, mirrored: bool
) -> PersonalModel:
    """A copy of the base that answers as a ridge affine map of it does.

    The map is drawn to the base's own slopes, never to a constant, from which nothing could be learnt.

    With `bins` the base's own heads are kept and the map stands behind them. With `linear` a fresh layer is
    given the base's answer as a linear function of the features (its mean gradient at the photos), and the map.

    Args:
        base: left as it is.
        features: (N, F) its pooled features of the training photos.
        labels_deg: (N, 2) client degrees.
        target: (N,) which target each photo shows.
        head: `linear` or `bins`.
        mirrored: the photos are mirror images.

    Returns:
        The model, on the base's device.
    """
    sign = native_sign(mirrored=mirrored).double()
    if head == "bins":
        with torch.no_grad():
            answers = base.angles_deg(features).double().cpu() * sign
        mapping = ridge_affine(answers, labels_deg, target=target, priors=(1.0,))
        return PersonalModel(copy.deepcopy(base), mirrored=mirrored, affine=mapping).to(features.device)
    slopes, bias = linearised(base, features)
    answers = (features.double().cpu() @ slopes.T + bias) * sign
    mapping = ridge_affine(answers, labels_deg, target=target, priors=(1.0,))
    turn = sign[:, None] * mapping[:, :2] * sign  # the map, between native degrees
    net = base.with_linear_head()
    with torch.no_grad():
        net.fc_angles.weight.copy_(turn @ slopes)
        net.fc_angles.bias.copy_(turn @ bias + sign * mapping[:, 2])
    return PersonalModel(net, mirrored=mirrored).to(features.device)


def linearised(base: L2CS, features: Tensor) -> tuple[Tensor, Tensor]:
    """The base's answer as a linear function of its features, around the photos.

    Args:
        base: any head.
        features: (N, F).

    Returns:
        (2, F) mean gradient of yaw and pitch and (2,) constant, native degrees, float64 on the CPU; exact for a
        linear head.
    """
    around = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        answers = base.angles_deg(around)
        gradients = [torch.autograd.grad(answers[:, axis].sum(), around, retain_graph=True)[0] for axis in range(2)]
    slopes = torch.stack([gradient.double().mean(dim=0) for gradient in gradients]).cpu()
    bias = answers.detach().double().cpu().mean(dim=0) - slopes @ features.double().cpu().mean(dim=0)
    return slopes, bias
