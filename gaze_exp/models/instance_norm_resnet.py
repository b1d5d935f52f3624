"""ResNet-18 whose norms look at one picture at a time and learn nothing.

Shapes: B batch, H W pixels, C the width of the first stage, F features.
    image (B, 3, H, W) -> stem (B, C, H/4, W/4) -> four stages (B, 8C, H/32, W/32) -> features (B, F)

Layout and names are torchvision's `resnet18(norm_layer=nn.InstanceNorm2d)`, whose weights fit at C = 64.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        num_in: channels that come.
        num_out: channels that leave.
        stride: of the first convolution and the shortcut.
    """

    def __init__(self, num_in: int, num_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.InstanceNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.InstanceNorm2d(num_out)
        self.downsample = nn.Sequential()
        if stride != 1 or num_in != num_out:
            shortcut = nn.Conv2d(num_in, num_out, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.InstanceNorm2d(num_out))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, num_in, H, W) -> (B, num_out, H / stride, W / stride)."""
        changed = F.relu(self.bn1(self.conv1(maps)))
        return F.relu(self.bn2(self.conv2(changed)) + self.downsample(maps))


def resnet18_instance_norm(*, width: int, num_features: int) -> nn.Sequential:
    """Build it, from random numbers.

    Args:
        width: C; 64 is ResNet-18.
        num_features: F.
    """
    widths = [width * 2**stage for stage in range(4)]
    stages = {
        f"layer{stage + 1}": nn.Sequential(
            ResidualBlock(widths[max(stage - 1, 0)], channels, stride=1 if stage == 0 else 2),
            ResidualBlock(channels, channels, stride=1),
        )
        for stage, channels in enumerate(widths)
    }
    net = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False),
            bn1=nn.InstanceNorm2d(width),
            relu=nn.ReLU(),
            maxpool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            **stages,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(widths[-1], num_features),
        )
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
