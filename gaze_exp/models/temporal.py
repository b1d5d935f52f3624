"""TemporalGaze: any single-frame model, and what the frames before say.

Shapes: B batch, T time, H W pixels, F features of a frame, D token width, S the shape of a state.
    images (B, T, 3, H, W) -> frame model -> features (B, T, F), its own gaze (B, T, 2)
    -> tokens (B, T, D) -> mixer, which sees no later frame -> correction (B, T, 2) -> gaze (B, T, 2)

The answer is the frame model's own gaze and a correction that starts at zero: warm-started from a trained
model, the first answer is that model's, and what is learned is what time adds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from gaze_exp.batch import GazeOutput
from gaze_exp.checkpoint import load
from gaze_exp.errors import ConfigError
from gaze_exp.models.gaze_head import GazeHead


class Mixer(Protocol):
    """What carries something from frame to frame: `models/temporal_mixers.py`."""

    state_shape: tuple[int, ...]
    """S of one sample; a state of zeros has seen nothing."""

    def __call__(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, S) -> (B, T, D) and (B, S)."""


class TemporalGaze(nn.Module):
    """Gaze of each frame of a video from that frame and those before it.

    Args:
        frame_model: a single-frame model with `features(...)`, whose arguments are those of its `forward`,
            `num_features`, and `gaze_of(features)`: pitch, yaw.
        mixer: carries something from frame to frame.
        token_width: D, the mixer's.
        head_width: hidden width of the head that corrects.
        dropout: in that head, in training.
        frame_checkpoint: of a trained single-frame model, which then is the frame model.
        freeze_frame_model: keep the frame model as it is, its batch norm and dropout too.

    Raises:
        ConfigError: a frame model that has no features, or frozen weights that are nobody's.
    """

    reads_sequences = True

    def __init__(
        self,
        *,
        frame_model: nn.Module,
        mixer: nn.Module,
        token_width: int = 256,
        head_width: int = 128,
        dropout: float = 0.1,
        frame_checkpoint: str | Path | None = None,
        freeze_frame_model: bool = False,
    ) -> None:
        super().__init__()
        _check(frame_model)
        if frame_checkpoint is not None:
            load(frame_checkpoint).load_into(frame_model)
        self.frame_model = frame_model
        self.freeze_frame_model = freeze_frame_model
        self.projection = nn.Linear(int(cast("Any", frame_model).num_features) + 2, token_width)
        self.mixer = mixer
        self.norm = nn.LayerNorm(token_width)
        self.correction = GazeHead(token_width, hidden_width=head_width, dropout=dropout)
        nn.init.zeros_(self.correction.angles.weight)
        frame_model.requires_grad_(not freeze_frame_model)
        self.train()

    def train(self, mode: bool = True) -> "TemporalGaze":
        """Set the training mode; a frozen frame model stays in evaluation."""
        super().train(mode)
        if self.freeze_frame_model:
            self.frame_model.eval()
        return self

    def initial_state(self, num: int) -> Tensor:
        """The state (B, S) before the first frame."""
        device = next(self.parameters()).device
        return torch.zeros(num, *cast("Mixer", self.mixer).state_shape, device=device)

    def forward(self, **images: Tensor) -> GazeOutput:
        """Estimate the gaze of each frame of a window; nothing was seen before it.

        Args:
            images: what the frame model reads, (B, T, 3, H, W) RGB, uint8 or float, 0..255.

        Returns:
            `gaze`: (B, T, 2) float32 pitch, yaw in radians.
        """
        first = next(iter(images.values()))
        if first.ndim != 5:
            raise ConfigError(
                f"model: a temporal model reads windows (B, T, 3, H, W) and got {tuple(first.shape)}; "
                "sequence_length=16 gives them"
            )
        return {"gaze": self.go_on(images, self.initial_state(len(first)))[0]}

    def go_on(self, images: Mapping[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the gaze of the next T frames, whatever T is.

        Args:
            images: what the frame model reads, (B, T, 3, H, W), as in `forward`.
            state: (B, S), of the frames before.

        Returns:
            (B, T, 2) float32 pitch, yaw in radians, and the state (B, S) behind the last frame.
        """
        num_frames = next(iter(images.values())).shape[1]
        features, gaze = self._frames({name: each.flatten(0, 1) for name, each in images.items()})
        evidence = torch.cat((features, gaze.to(features.dtype)), dim=-1).unflatten(0, (-1, num_frames))
        tokens, state = self.mixer(self.projection(evidence), state)
        return gaze.unflatten(0, (-1, num_frames)) + self.correction(self.norm(tokens)), state

    def _frames(self, images: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Features (N, F) and gaze (N, 2) of single frames."""
        model = cast("Any", self.frame_model)
        if not self.freeze_frame_model:
            features = model.features(**images)
            return features, model.gaze_of(features)
        with torch.no_grad():
            features = model.features(**images)
            return features, model.gaze_of(features)


def _check(frame_model: nn.Module) -> None:
    lacking = [name for name in ("features", "num_features", "gaze_of") if not hasattr(frame_model, name)]
    if lacking:
        raise ConfigError(
            f"model.frame_model: {type(frame_model).__name__} has no {', '.join(lacking)}; a frame model has "
            "features(images...) -> (B, num_features) and gaze_of(features) -> (B, 2) pitch, yaw (docs/add_a_model.md)"
        )
