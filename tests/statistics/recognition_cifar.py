"""A classifier of CIFAR-10 JPEG, long-tailed by .01: real images alone, by ResNet-32's recipe made shorter.

    OMP_NUM_THREADS=1 python tests/statistics/recognition_cifar.py TRAIN TEST --epochs 20     # 26 minutes of CPU

TRAIN and TEST are folders of images by class. The recipe's 200 epochs become `--epochs`, with a warm-up of one, and the
learning rate falls by ten after 80 and 90 % of them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.recognition import Mixture, RecognitionSettings, RecognitionTask, recognition_recipe


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    places = {"path": str(options.train), "reference_path": str(options.test)}
    dataset = load_dataset(DatasetConfig(name="folder", imbalance=0.01, image_size=32, **places), options.data_root)
    _, recipe = recognition_recipe("resnet32-32px", 32)
    falls = (int(options.epochs * 0.8), int(options.epochs * 0.9))
    shorter = {"epochs": options.epochs, "warmup_epochs": 1, "decay_at": falls, "decay_factors": (0.1, 0.1)}
    settings = RecognitionSettings("shorter", recipe.model_copy(update=shorter))
    task = RecognitionTask(dataset, settings, options.data_root / ".cache" / "recognition", torch.device("cpu"))
    began = time.process_time()
    found = task.result(Mixture.of(dataset.train(), None), options.seed, "real")
    print(f"{len(dataset.train()):,} images, {found['steps']:,} steps, {time.process_time() - began:,.0f} s of CPU")
    print(f"top-1 {task.overall(found['by_class']):.4f}; by class {found['by_class']}")


if __name__ == "__main__":
    main()
