"""Whether a user's photos are mirror images: said by the user, or told by the base model."""

from torch import Tensor

from gaze_exp.errors import ConfigError
from gaze_exp.weights.flip_test import correlation, mirrored


def decide(setting: bool | str, *, base_yaw_deg: Tensor, target_x_px: Tensor) -> tuple[bool, str]:
    """Decide as asked, or from the base's answers.

    Args:
        setting: true, false or `auto`.
        base_yaw_deg: (N,) L2CS-native yaw of the photos, + = image left.
        target_x_px: (N,) where the user looked, + = right.

    Returns:
        Mirrored or not, and a sentence on how that is known.

    Raises:
        ConfigError: `auto`, and the base does not tell.
    """
    r = correlation(base_yaw_deg.double(), target_x_px.double())
    told = f"the base's yaw goes with the targets' x by r = {r:.2f}"
    found = mirrored(base_yaw_deg, target_x_px)
    if setting == "auto":
        if found == "unknown":
            raise ConfigError(
                f"finetune.mirrored: auto cannot tell whether the photos are mirror images ({told}); "
                "true is right for the client's mirror_mode (its default: raise your right hand, and the hand at the "
                "right of the picture rises), false without it"
            )
        return found == "mirrored", f"photos are {found}: {told}"
    if isinstance(setting, str):
        raise ConfigError(f"finetune.mirrored: {setting!r} is no choice; auto, true or false is")
    as_asked = "mirrored" if setting else "not mirrored"
    doubt = f"; but {told}, as in photos that are {found}" if found not in (as_asked, "unknown") else f"; {told}"
    return setting, f"photos are {as_asked}, as finetune.mirrored says{doubt}"
