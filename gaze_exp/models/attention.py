"""Pre-norm transformer blocks, written out so that they export to ONNX as they train.

Shapes: B batch, N query tokens, M key tokens, D width, h heads.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of queries to keys; the keys are also the values.

    Args:
        width: D.
        num_heads: h, divides D.
        dropout: on the attention weights, in training.
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_output = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Let every query gather from the keys.

        Args:
            queries: (B, N, D).
            keys: (B, M, D).

        Returns:
            (B, N, D).
        """
        query = self.to_query(queries).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key_value = self.to_key_value(keys).unflatten(-1, (2, self.num_heads, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        gathered = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.to_output(gathered.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """Linear, GELU, linear."""

    def __init__(self, width: int, *, hidden_width: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, hidden_width), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden_width, width))


class SelfAttentionBlock(nn.Module):
    """One pre-norm transformer layer.

    Args:
        width: D.
        num_heads: h, divides D.
        feedforward_width: hidden width of the feed-forward part.
        dropout: in training.
    """

    def __init__(self, width: int, *, num_heads: int, feedforward_width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads=num_heads, dropout=dropout)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = FeedForward(width, hidden_width=feedforward_width, dropout=dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix the tokens: (B, N, D) -> (B, N, D)."""
        normed = self.attention_norm(tokens)
        tokens = tokens + self.drop(self.attention(normed, normed))
        return tokens + self.drop(self.feedforward(self.feedforward_norm(tokens)))


class CrossAttentionBlock(nn.Module):
    """One pre-norm layer in which queries gather from other tokens.

    Args:
        width: D.
        num_heads: h, divides D.
        feedforward_width: hidden width of the feed-forward part.
        dropout: in training.
    """

    def __init__(self, width: int, *, num_heads: int, feedforward_width: int, dropout: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width)
        self.key_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads=num_heads, dropout=dropout)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = FeedForward(width, hidden_width=feedforward_width, dropout=dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Add to each query what it finds: (B, N, D) and (B, M, D) -> (B, N, D)."""
        queries = queries + self.drop(self.attention(self.query_norm(queries), self.key_norm(keys)))
        return queries + self.drop(self.feedforward(self.feedforward_norm(queries)))
