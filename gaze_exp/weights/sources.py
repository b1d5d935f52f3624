"""Where weights of L2CS-Net come from, and under which licence. Nothing here is downloaded or imports torch."""

from pathlib import Path

from gaze_exp.errors import ConfigError

LICENCE_NOTICE = (
    "L2CS-Net's code is MIT, but its released weights were trained on Gaze360, whose licence covers models too: "
    "research only, no commercial use, not to be passed on"
)
CHOICES = (
    "model.weights=FILE reads L2CSNet_gaze360.pkl (linked in the README of https://github.com/Ahmednull/L2CS-Net), "
    "a ResNet .pt of https://github.com/yakhyo/gaze-estimation/releases, an exported L2CS .onnx such as your eye "
    f"tracker's models/l2cs_net.onnx, or a checkpoint of task=l2cs_train. {LICENCE_NOTICE}. Without a file: "
    "model.pretrained=imagenet fetches a classifier's trunk, model.pretrained=none starts from random numbers"
)


def require_source(weights: str | Path | None, pretrained: str | None) -> None:
    """Insist on a choice of first weights.

    Args:
        weights: a file, or None.
        pretrained: `imagenet`, `none`, or None where the file says everything.

    Raises:
        ConfigError: nothing is chosen, or two things that exclude each other.
    """
    if pretrained not in (None, "imagenet", "none"):
        raise ConfigError(
            f"model.pretrained: {pretrained!r} is no choice; imagenet, none or null (with model.weights) is"
        )
    if weights is None and pretrained is None:
        raise ConfigError(f"model.weights: nothing given, and nothing is downloaded unasked; {CHOICES}")
    if weights is not None and pretrained == "none":
        raise ConfigError(
            f"model.pretrained: none asks for random numbers, but model.weights={weights} is given; "
            "model.pretrained=null would be right"
        )
