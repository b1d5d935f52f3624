"""What carries something from frame to frame: a GRU, and a causal transformer over the last frames.

Both take any number of frames and the state behind the frame before, so that one frame at a time, a window
and a whole recording go through the same code. A state of zeros has seen nothing.

Shapes: B batch, T time, D token width, L layers, h heads, C context in frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaze_exp.errors import ConfigError
from gaze_exp.models.attention import FeedForward


class GRUMixer(nn.Module):
    """A GRU, added to what it reads.

    Args:
        width: D.
        num_layers: L.
        dropout: between layers, in training.
    """

    def __init__(self, *, width: int = 256, num_layers: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0)
        self.state_shape = (num_layers, width)

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a state.

        Args:
            tokens: (B, T, D).
            state: (B, L, D), of the frames before.

        Returns:
            (B, T, D), and the state behind the last frame.
        """
        mixed, last = self.gru(tokens, state.to(tokens.dtype).transpose(0, 1).contiguous())
        return tokens + mixed, last.transpose(0, 1).float()


class CausalTransformer(nn.Module):
    """A transformer in which a frame attends to itself and the C-1 frames before it, in every layer.

    The state holds the keys and values of the last C-1 frames of each layer, and a flag that says that
    there was such a frame.

    Args:
        width: D.
        depth: L.
        num_heads: h, divides D.
        feedforward_width: hidden width of the feed-forward parts.
        context: C, frames.
        dropout: in training.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        depth: int = 2,
        num_heads: int = 4,
        feedforward_width: int = 512,
        context: int = 16,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if context < 2:
            raise ConfigError(f"model.mixer.context: {context} frames know no past; 2 or more, such as sequence_length")
        self.blocks = nn.ModuleList(
            CausalBlock(
                width, num_heads=num_heads, feedforward_width=feedforward_width, context=context, dropout=dropout
            )
            for _ in range(depth)
        )
        self.state_shape = (depth, context - 1, 2 * width + 1)

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a state.

        Args:
            tokens: (B, T, D).
            state: (B, L, C-1, 2D+1), of the frames before.

        Returns:
            (B, T, D), and the state behind the last frame.
        """
        states = []
        for block, before in zip(self.blocks, state.unbind(1), strict=True):
            tokens, after = block(tokens, before)
            states.append(after)
        return tokens, torch.stack(states, dim=1)


class CausalBlock(nn.Module):
    """One pre-norm layer with attention to the last C frames; how far back a frame lies is learned a head.

    Args:
        width: D.
        num_heads: h, divides D.
        feedforward_width: hidden width of the feed-forward part.
        context: C.
        dropout: in training.
    """

    def __init__(self, width: int, *, num_heads: int, feedforward_width: int, context: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.context = context
        self.attention_norm = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_output = nn.Linear(width, width)
        # The first head starts out with all of its context alike, the last one with the present.
        slope = torch.linspace(0.0, 1.0, num_heads)[:, None]
        self.distance_bias = nn.Parameter(-slope * torch.arange(context))
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = FeedForward(width, hidden_width=feedforward_width, dropout=dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Mix each token with those before it.

        Args:
            tokens: (B, T, D).
            state: (B, C-1, 2D+1) key, value and flag of the frames before.

        Returns:
            (B, T, D), and the state behind the last frame.
        """
        normed = self.attention_norm(tokens)
        present = self.to_key_value(normed).float()
        memory = torch.cat((state, torch.cat((present, torch.ones_like(present[..., :1])), dim=-1)), dim=1)
        query = self.to_query(normed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key_value = memory[..., :-1].to(query.dtype).unflatten(-1, (2, self.num_heads, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self._bias(tokens.shape[1]) + torch.where(memory[..., -1] > 0, 0.0, -torch.inf)[:, None, None]
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        tokens = tokens + self.drop(self.to_output(gathered.transpose(1, 2).flatten(2)))
        tokens = tokens + self.drop(self.feedforward(self.feedforward_norm(tokens)))
        return tokens, memory[:, -(self.context - 1) :]

    def _bias(self, num_frames: int) -> Tensor:
        """(h, T, C-1+T): the learned bias of the distance; no frame ahead, none beyond the context."""
        device = self.distance_bias.device
        query = torch.arange(num_frames, device=device)[:, None] + self.context - 1
        distance = query - torch.arange(self.context - 1 + num_frames, device=device)
        is_seen = (distance >= 0) & (distance < self.context)
        bias = self.distance_bias[:, distance.clamp(0, self.context - 1)]
        return torch.where(is_seen, bias, -torch.inf)
