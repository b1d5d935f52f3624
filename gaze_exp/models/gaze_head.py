"""The last part of every model: features -> pitch, yaw.

Shapes: B batch, F features.
"""

import torch
from torch import Tensor, nn


class GazeHead(nn.Module):
    """MLP from features to gaze angles, in float32 also under autocast.

    bf16 has three digits: an angle of 0.4 rad would come in steps of 0.1 degrees. The last layer starts
    small, so that a fresh model looks almost straight into the camera instead of anywhere.

    Args:
        num_features: F.
        hidden_width: width of the hidden layer.
        dropout: before the last layer, in training.
    """

    def __init__(self, num_features: int, *, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, hidden_width)
        self.drop = nn.Dropout(dropout)
        self.angles = nn.Linear(hidden_width, 2)
        nn.init.normal_(self.angles.weight, std=1e-3)
        nn.init.zeros_(self.angles.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Regress the angles.

        Args:
            features: (B, F).

        Returns:
            (B, 2) float32 pitch, yaw in radians.
        """
        device_type = features.device.type
        # Asked first, because an exporter cannot trace the context.
        if not torch.is_autocast_enabled(device_type):
            return self._regress(features)
        with torch.autocast(device_type, enabled=False):
            return self._regress(features)

    def _regress(self, features: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.hidden(features.to(self.hidden.weight.dtype)))
        return self.angles(self.drop(hidden)).float()


class LinearGazeHead(nn.Module):
    """One linear layer from features to gaze angles, in float32 also under autocast.

    Args:
        num_features: F.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.angles = nn.Linear(num_features, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Regress the angles: (B, F) -> (B, 2) float32 pitch, yaw in radians."""
        device_type = features.device.type
        # Asked first, because an exporter cannot trace the context.
        if not torch.is_autocast_enabled(device_type):
            return self.angles(features.to(self.angles.weight.dtype)).float()
        with torch.autocast(device_type, enabled=False):
            return self.angles(features.to(self.angles.weight.dtype)).float()
