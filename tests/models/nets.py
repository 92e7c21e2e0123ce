"""PyTorch modules that other processes import."""

from __future__ import annotations

from typing import Any

import torch


class Net(torch.nn.Module):  # type: ignore[misc]
    """A network with the layers whose outputs are others in training mode."""

    def __init__(self, features: int = 3, hidden: int = 8) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(features, hidden),
            torch.nn.BatchNorm1d(hidden),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(hidden, 1),
        )

    def forward(self, rows: Any) -> Any:
        return self.layers(rows)


class OfImages(torch.nn.Module):  # type: ignore[misc]
    """A network of images of shape (1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(144, 3),
        )

    def forward(self, images: Any) -> Any:
        return self.layers(images)


class AlwaysTraining(Net):
    """A mutant: evaluation mode has no effect."""

    def train(self, mode: bool = True) -> Any:  # noqa: ARG002, FBT001, FBT002 - as PyTorch declares it
        return super().train(mode=True)
