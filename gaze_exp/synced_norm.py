"""Batch norm over the whole global batch, wherever the devices are.

With each process normalising its own share, what a net learns would depend on how many devices the machine has.
Torch's `SyncBatchNorm` knows GPUs alone; on the CPU, classes of ours do the same sums over gloo.
"""

import logging
from typing import Any

import torch
from torch import Tensor, distributed, nn
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


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks, whose gradient is that of the sum of their losses."""

    @staticmethod
    def forward(ctx: Any, here: Tensor) -> Tensor:
        del ctx
        total = here.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def _sum_over_ranks(here: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(here)
    return total


class _Synced(_BatchNorm):
    """Batch norm whose mean and variance are those of the samples of all ranks."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the parent's name)
        """Normalise: (B, C, ...) -> the same."""
        is_alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        if is_alone or not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        values = input.float()
        over = [0, *range(2, values.dim())]
        shape = [1, -1, *[1] * (values.dim() - 2)]
        total = _sum_over_ranks(torch.cat([values.sum(over), values.new_tensor([values.numel() / values.shape[1]])]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = values - mean.view(shape)
        variance = _sum_over_ranks(centred.square().sum(over)) / count
        self._keep(mean.detach(), variance.detach() * count / (count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Follow the running statistics, as the parent does."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


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
