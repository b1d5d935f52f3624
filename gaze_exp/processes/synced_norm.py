"""Batch norm over the whole global batch, wherever the devices are.

With each process normalising its own share, what a net learns would depend on how many devices the machine has.
Torch's `SyncBatchNorm` knows GPUs alone; on the CPU, classes of ours do the same sums over gloo.
"""

import logging
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

log = logging.getLogger(__name__)


def sync_batch_norm(model: nn.Module, *, on_gpu: bool) -> int:
    """Let the trained batch norm of a model take its statistics over all ranks; frozen layers stay as they are.

    Args:
        model: changed in place; the names of its weights stay.
        on_gpu: its tensors are on CUDA.

    Returns:
        How many layers do so now.
    """
    trained = {name: module for name, module in model.named_modules() if _is_trained_norm(module)}
    for name, module in trained.items():
        if on_gpu:
            from timm.layers.norm_act import convert_sync_batchnorm  # torch's own would lose timm's activations

            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, convert_sync_batchnorm(module))
        elif type(module) in _ON_CPU:
            module.__class__ = _ON_CPU[type(module)]
        else:
            log.warning("batch norm %s (%s) is taken over each process's share", name, type(module).__name__)
    return len(trained)


def _is_trained_norm(module: nn.Module) -> bool:
    is_ours_already = isinstance(module, nn.SyncBatchNorm | _Synced)
    is_frozen = isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad
    return isinstance(module, _BatchNorm) and not is_ours_already and not is_frozen


class _Normalise(torch.autograd.Function):
    """Batch norm by the statistics of all ranks, in as many passes over memory as torch's own takes.

    Every pass is a kernel of torch's that keeps its coefficients in float32 where values are bf16: its sums of a batch
    norm, and its batch norm by given statistics, which maps each channel by a line.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        # Running statistics that it leaves as they are: their type is that of its answer.
        left = values.new_zeros(values.shape[1], dtype=torch.promote_types(values.dtype, torch.float32))
        mean, variance = torch.batch_norm_update_stats(values, left, left.clone(), 0.0)
        mean, variance = mean.double(), variance.double()
        count = values.numel() // values.shape[1]
        sums = _over_ranks(torch.cat([mean, variance + mean**2, variance.new_ones(1)]) * count)
        mean, square = (sums[:-1] / sums[-1]).chunk(2)
        variance = square - mean**2
        statistics = mean.to(weight.dtype), variance.to(weight.dtype)
        ctx.save_for_backward(values, weight, *statistics, sums[-1])
        ctx.eps = eps
        result = functional.batch_norm(values, *statistics, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(*statistics, sums[-1])
        return result, *statistics, sums[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, (values, weight, mean, variance, count) = gradients[0], ctx.saved_tensors
        _, into_weight, into_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = _over_ranks(torch.cat([into_bias, into_weight]).float())
        of_mean, of_scale = (sums / count).float().chunk(2)
        inverse = torch.rsqrt(variance.float() + ctx.eps)
        slope = weight.float() * inverse
        tilt = -slope * of_scale * inverse
        level = -slope * of_mean - tilt * mean.float()
        into_values = _line(gradient, slope, level)
        into_values.addcmul_(values, tilt.to(values.dtype).view(1, -1, *[1] * (values.dim() - 2)))
        return into_values, into_weight, into_bias, None


def _over_ranks(sums: Tensor) -> Tensor:
    """The sum of each number over all ranks. Gathered, since gloo's sum of so few takes four times as long (3.2 ms)."""
    num_ranks = distributed.get_world_size()
    gathered = sums.new_empty(num_ranks * len(sums))
    distributed.all_gather_into_tensor(gathered, sums)
    return gathered.view(num_ranks, -1).sum(0)


def _line(values: Tensor, slope: Tensor, level: Tensor) -> Tensor:
    """`slope * values + level` of each channel (axis 1), as the batch norm of mean 0 and variance 1."""
    return functional.batch_norm(values, torch.zeros_like(slope), torch.ones_like(slope), slope, level, eps=0.0)


class _Synced(_BatchNorm):
    """Batch norm whose mean and variance are those of the samples of all ranks."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the parent's name)
        """Normalise: (B, C, ...) -> the same."""
        is_alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        if is_alone or not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        weight = input.new_ones(input.shape[1]).float() if self.weight is None else self.weight
        bias = torch.zeros_like(weight) if self.bias is None else self.bias
        result, mean, variance, count = _Normalise.apply(input, weight, bias, self.eps)
        self._keep(mean, variance * count / (count - 1))
        return cast("Tensor", result)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Follow the running statistics, as the parent does."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _Synced1d(_Synced, nn.BatchNorm1d):
    pass


class _Synced2d(_Synced, nn.BatchNorm2d):
    pass


class _Synced3d(_Synced, nn.BatchNorm3d):
    pass


_ON_CPU: dict[type[nn.Module], type[_Synced]] = {
    nn.BatchNorm1d: _Synced1d,
    nn.BatchNorm2d: _Synced2d,
    nn.BatchNorm3d: _Synced3d,
}
