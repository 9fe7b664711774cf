# SPDX-License-Identifier: Apache-2.0
"""Train the small networks of `isoform demo` and write them as ONNX files.

    python examples/train_demo.py FOLDER

Four files of a few tens of kB, always the same for one version of torch (fixed seeds):

controller.onnx   saturated state feedback, 8 states to 2 inputs, learned; batch normalisation, and
                  two matrix products with nothing between them
pruned.onnx       the same with its smallest weights set to zero, without training afterwards
camera.onnx       position and angle of a bar in a 12x12 image, two convolutions and leaky ReLU
adapter.onnx      a linear readout with a low-rank adapter learned on top
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from torch import nn

import isoform as iso

PRUNED = 0.05  # share of the weights of one layer that pruning sets to zero


class Adapted(nn.Module):
    """W x + b + s B A x with a frozen W and b."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float):
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * self.up(self.down(x))


def fit(
    module: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int, rate: float = 3e-3
) -> float:
    """Least squares with Adam on random batches; the final mean square error on all data."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(wanted, lr=rate)
    module.train()
    for _ in range(steps):
        batch = torch.randint(len(x), (256,))
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(module(x[batch]), y[batch])
        loss.backward()
        optimiser.step()
    module.eval()
    with torch.no_grad():
        return float(nn.functional.mse_loss(module(x), y))


def controller() -> nn.Module:
    """u = clip(-K x) learned from samples."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2),
    )
    gain = torch.randn(2, 8)
    x = 2 * torch.rand(20_000, 8) - 1
    error = fit(module, x, (-(x @ gain.T)).clamp(-1, 1), 1500)
    print(f"controller: mean square error {error:.2e}")
    return module


def pruned(module: nn.Module) -> nn.Module:
    """A copy without the smallest weights of the first product."""
    result = copy.deepcopy(module)
    weight = result[3].weight.data
    threshold = weight.abs().flatten().kthvalue(int(PRUNED * weight.numel())).values
    weight[weight.abs() <= threshold] = 0
    return result


def camera() -> nn.Module:
    """Where a bright bar lies in an image, and its angle."""
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.LeakyReLU(0.1),
        nn.Conv2d(4, 8, 3, stride=2), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(32, 16), nn.LeakyReLU(0.1), nn.Linear(16, 2),
    )
    place, angle = 2 * torch.rand(10_000) - 1, 1.5 * (2 * torch.rand(10_000) - 1)
    across = torch.linspace(-1, 1, 12)
    distance = (across[None, None, :] - place[:, None, None] * 0.7) * angle.cos()[:, None, None]
    distance = distance + across[None, :, None] * angle.sin()[:, None, None]
    image = torch.exp(-12 * distance**2) + 0.05 * torch.rand(10_000, 12, 12)
    error = fit(module, image[:, None].clamp(0, 1), torch.stack([place, angle], 1), 1500)
    print(f"camera: mean square error {error:.2e}")
    return module


def adapter() -> nn.Module:
    """A linear readout, then a rank-4 adapter for data that have shifted."""
    torch.manual_seed(3)
    module = Adapted(32, 24, rank=4, scale=0.5)
    nn.init.zeros_(module.up.weight)
    module.down.requires_grad_(False)
    truth, shift = torch.randn(24, 32), torch.randn(24, 4) @ torch.randn(4, 32)
    x = torch.randn(5_000, 32)
    fit(module, x, x @ truth.T, 1500, rate=2e-2)
    module.base.requires_grad_(False)
    module.down.requires_grad_(True)
    error = fit(module, x, x @ (truth + 0.3 * shift).T, 1500, rate=2e-2)
    print(f"adapter: mean square error {error:.2e}")
    return module


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    control = controller()
    networks = {
        "controller": (control, None), "pruned": (pruned(control), None),
        "camera": (camera(), (1, 12, 12)), "adapter": (adapter(), (32,)),
    }
    for name, (module, example) in networks.items():
        path = iso.write(iso.read(module, example=example), folder / f"{name}.onnx")
        print(f"{path}: {path.stat().st_size:,} bytes, {iso.read(path)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
