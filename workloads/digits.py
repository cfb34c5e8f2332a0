"""scikit-learn's handwritten digits (1,797 images of 8x8, real data that ships with the package)
and the two classifiers that the workloads train and serve. Import after `backend.prepare()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tinygrad import Tensor, nn

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

CLASSES = 10
PIXELS = 64
SPLIT_SEED = 7  # one split for every run, so that accuracies can be compared


@dataclass(frozen=True)
class Digits:
    """Pixels in [0, 1], one image per row of 64, and labels 0..9."""

    train_images: Floats
    train_labels: Labels
    test_images: Floats
    test_labels: Labels


def load() -> Digits:
    """The data set, split 80/20 with the classes in equal shares."""
    bunch: Any = load_digits()
    images = (bunch.data / 16.0).astype(np.float32)
    labels = bunch.target.astype(np.int32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.2, random_state=SPLIT_SEED, stratify=labels
    )
    return Digits(train_x, train_y, test_x, test_y)


class Mlp:
    """Two hidden layers of `width` units."""

    def __init__(self, width: int = 128) -> None:
        self.layers: list[Callable[[Tensor], Tensor]] = [
            nn.Linear(PIXELS, width),
            Tensor.relu,
            nn.Linear(width, width),
            Tensor.relu,
            nn.Linear(width, CLASSES),
        ]

    def __call__(self, x: Tensor) -> Tensor:
        return x.sequential(self.layers)


class ConvNet:
    """Two 3x3 convolutions, `width`/4 and `width`/2 channels, and a linear head."""

    def __init__(self, width: int = 64) -> None:
        first, second = width // 4, width // 2
        self.layers: list[Callable[[Tensor], Tensor]] = [
            lambda x: x.reshape(-1, 1, 8, 8),
            nn.Conv2d(1, first, 3, padding=1),
            Tensor.relu,
            nn.Conv2d(first, second, 3, padding=1),
            Tensor.relu,
            Tensor.max_pool2d,
            lambda x: x.flatten(1),
            nn.Linear(second * 16, CLASSES),
        ]

    def __call__(self, x: Tensor) -> Tensor:
        return x.sequential(self.layers)


MODELS: dict[str, Callable[[int], Mlp | ConvNet]] = {"mlp": Mlp, "conv": ConvNet}


def accuracy(model: Mlp | ConvNet, images: Floats, labels: Labels, batch: int = 120) -> float:
    """Share of `images` that `model` classifies correctly, in 0..1."""
    right = 0
    for start in range(0, len(images), batch):
        logits = model(Tensor(images[start : start + batch])).numpy()
        right += int((logits.argmax(axis=1) == labels[start : start + batch]).sum())
    return right / len(images)
