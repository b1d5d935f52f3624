"""What L2CS-Net is, where arguments and a weights file both have a say.

Each function takes what was asked for and what the file holds, and refuses where they disagree.
"""

from torch import Tensor

from gaze_exp.errors import ConfigError
from gaze_exp.gaze_bins import Bins
from gaze_exp.models.encoder_weights import build_trunk
from gaze_exp.weights.contents import ARCHS, L2CSWeights

RELEASED_IMAGE_SIZE = 448
SMALLEST_IMAGE_SIZE = 32


def imagenet_trunk(arch: str) -> dict[str, Tensor]:
    """Torchvision's first ImageNet weights, of which L2CS-Net started, from timm's hub or its cache."""
    try:
        trunk = build_trunk(f"{arch}.tv_in1k", pretrained=True, weights_file=None, option="weights")
    except ConfigError as error:
        reason = error.__cause__ or error
        raise ConfigError(
            f"model.pretrained: ImageNet's weights of {arch} cannot be had ({reason}); model.pretrained=none starts "
            "from random numbers, and with a torchvision file of your own model.weights=FILE needs no network"
        ) from error
    return dict(trunk.state_dict())


def choose_arch(asked: str, found: L2CSWeights | None) -> str:
    """`auto` is that of the file, else ResNet-50."""
    if asked not in ("auto", *ARCHS):
        raise ConfigError(f"model.arch: {asked!r} is no choice; auto, {', '.join(ARCHS)} are")
    if found is None:
        return "resnet50" if asked == "auto" else asked
    if asked not in ("auto", found.arch):
        raise ConfigError(f"model.arch: {asked}, but {found.path} holds a {found.arch}; model.arch=auto would be right")
    return found.arch


def choose_bins(number: int | None, width: float | None, first: float | None, *, found: L2CSWeights | None) -> Bins:
    """None is that of the file, else that of Gaze360."""
    if found is None or found.num_bins is None:
        return Bins.of(90 if number is None else number, width_deg=width, first_deg=first)
    if number not in (None, found.num_bins):
        raise ConfigError(
            f"model.num_bins: {number}, but {found.path} holds heads of {found.num_bins}; "
            f"model.num_bins={found.num_bins} would be right"
        )
    if found.bins is not None and width is None and first is None:
        return found.bins
    return Bins.of(found.num_bins, width_deg=width, first_deg=first)


def choose_size(asked: int | str | None, found: L2CSWeights | None) -> int | None:
    """`auto` is that of our own checkpoint, else that of the released weights."""
    if asked == "auto":
        asked = "auto" if found is None else found.image_size
    if asked == "auto":
        return RELEASED_IMAGE_SIZE
    if isinstance(asked, str) or (asked is not None and asked < SMALLEST_IMAGE_SIZE):
        raise ConfigError(f"model.image_size: {asked!r} is no side; auto, null or 32 px and more would be right")
    return asked
