"""Where an encoder's first weights come from: timm's hub, a local file, or nowhere.

Nothing is downloaded unasked: only `pretrained=True` without a file reaches for the network, and only when
the weights are not in the local cache. Without a network that ends in seconds, with the way out.
"""

import contextlib
import difflib
import importlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants as hub_constants
from huggingface_hub import get_session
from timm.models import load_state_dict
from torch import Tensor, nn

from gaze_exp.errors import ConfigError

HUB_PROBE_TIMEOUT_S = 5.0
CLASSIFIER_PARTS = ("head", "fc", "classifier", "fc_norm", "attn_pool", "pre_logits")
"""Parts behind the features: a classifier's file has them, an encoder does not."""

logger = logging.getLogger(__name__)


def build_trunk(
    name: str, *, pretrained: bool, weights_file: str | Path | None, option: str, **options: Any
) -> nn.Module:
    """Build a timm model without its classifier and give it its first weights.

    Args:
        name: timm model name, such as `resnet18` or `vit_base_patch16_224`.
        pretrained: load timm's own weights, unless there is a file.
        weights_file: timm weights of this model, `.safetensors` or `.pth`.
        option: name of the model option that sets `weights_file`, for the error text.
        **options: passed to `timm.create_model`.

    Returns:
        The model; its output is features.

    Raises:
        ConfigError: no such model, or the weights cannot be had.
    """
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        remedy = f"the nearest are {', '.join(nearest)}" if nearest else "see timm.list_models()"
        raise ConfigError(f"model: timm has no encoder '{name}'; {remedy}")
    if weights_file is not None:
        trunk = timm.create_model(name, pretrained=False, num_classes=0, **options)
        load_weights_file(trunk, Path(weights_file), name=name, option=option)
        return trunk
    if pretrained:
        return _pretrained(name, option=option, **options)
    return timm.create_model(name, pretrained=False, num_classes=0, **options)


def _pretrained(name: str, *, option: str, **options: Any) -> nn.Module:
    """Build a model with timm's weights: from the local cache first, then from the hub."""
    try:
        try:
            with _hub_offline():
                return timm.create_model(name, pretrained=True, num_classes=0, **options)
        except OSError:
            _probe_hub()
            logger.info("downloading the weights of %s", name)
            return timm.create_model(name, pretrained=True, num_classes=0, **options)
    except Exception as error:  # a hub fails in many ways, and each has the same way out
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"model.pretrained: the weights of '{name}' cannot be had ({reason}); model.pretrained=false "
            f"starts from random weights, model.{option}=PATH reads timm's weights from a local file"
        ) from error


@contextlib.contextmanager
def _hub_offline() -> Iterator[None]:
    """Let the hub client look into its cache only; alone it retries a dead network for a minute."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


def _probe_hub() -> None:
    """Raise within seconds where the hub cannot be reached."""
    if hub_constants.HF_HUB_OFFLINE:
        raise OSError("not in the local cache, and HF_HUB_OFFLINE is set")
    try:
        get_session().head(hub_constants.ENDPOINT, timeout=HUB_PROBE_TIMEOUT_S)
    except Exception as error:
        raise OSError(f"{hub_constants.ENDPOINT} cannot be reached: {error}") from error


def load_weights_file(trunk: nn.Module, path: Path, *, name: str, option: str) -> None:
    """Load timm weights into a model without classifier: every one of its tensors, and nothing unknown.

    Args:
        trunk: model from `timm.create_model(..., num_classes=0)`, changed in place.
        path: `.safetensors` or `.pth` file of the same timm model.
        name: timm name of the model, for the error text.
        option: name of the model option that sets the path, for the error text.

    Raises:
        ConfigError: the file is not there, not weights, or not this model's.
    """
    state = _read_weights(path, option=option)
    # By timm's convention this function adapts a file to the model, such as ViT positions to its image size.
    adapt = getattr(importlib.import_module(type(trunk).__module__), "checkpoint_filter_fn", None)
    remedy = f"give timm's weights of '{name}'"
    try:
        state = adapt(state, trunk) if adapt else state
        missing, unexpected = trunk.load_state_dict(state, strict=False)
    except (RuntimeError, KeyError, AttributeError) as error:
        detail = " ".join(str(error).split())[:300]
        raise ConfigError(f"model.{option}: {path} does not fit '{name}' ({detail}); {remedy}") from error
    unexpected = [key for key in unexpected if key.split(".")[0] not in CLASSIFIER_PARTS]
    for what, keys in (("misses", missing), ("has the unknown", unexpected)):
        if keys:
            shown = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
            raise ConfigError(f"model.{option}: {path} {what} {shown}; {remedy}")


def _read_weights(path: Path, *, option: str) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"model.{option}: no file {path}; give a .safetensors or .pth file of timm weights")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # safetensors, pickle and zip errors share no base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"model.{option}: {path} cannot be read as weights ({reason}); "
            "give a .safetensors or .pth file of timm weights"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"model.{option}: {path} holds no tensors by name; give a file of timm weights")
    return state
