"""Files of L2CS-Net as others write them, with random weights: key names and graphs, but nobody's numbers."""

import contextlib
import io
import warnings

import torch
import torchvision
from torch import nn


class Official(nn.Module):
    """The layers of github.com/Ahmednull/L2CS-Net under its names; two outputs of logits, horizontal first."""

    heads = ("fc_yaw_gaze", "fc_pitch_gaze")

    def __init__(self, arch="resnet18", *, num_bins=90, finetune=True):
        super().__init__()
        resnet = torchvision.models.get_model(arch, weights=None)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"):
            self.add_module(name, getattr(resnet, name))
        for head in self.heads:
            self.add_module(head, nn.Linear(resnet.fc.in_features, num_bins))
        if finetune:
            self.fc_finetune = nn.Linear(resnet.fc.in_features + 3, 3)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(x))))).flatten(1)
        return tuple(getattr(self, head)(x) for head in self.heads)


class Yakhyo(Official):
    """The same under the names of github.com/yakhyo/gaze-estimation."""

    heads = ("fc_yaw", "fc_pitch")

    def __init__(self, arch="resnet18", **options):
        super().__init__(arch, finetune=False, **options)


def lively(model, seed=0):
    """Give batch norm numbers that a trained net could have, so that folding it changes something."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=random)
                module.bias.normal_(std=0.1, generator=random)
                module.running_mean.normal_(std=0.1, generator=random)
                module.running_var.uniform_(0.5, 1.5, generator=random)
    return model.eval()


def export(model, path, *, size=64, **options):
    """Export as users do, without the exporter's talk."""
    defaults = {"output_names": ["yaw", "pitch"], "input_names": ["input"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (torch.randn(1, 3, size, size),), str(path), **(defaults | options))
    return path
