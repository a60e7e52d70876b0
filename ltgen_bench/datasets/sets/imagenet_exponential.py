"""What CCUA's code calls ImageNet-LT: an exponential cut of all of ImageNet, another data set than Liu et al.'s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.datasets.options import refuse_unknown_options
from ltgen_bench.datasets.sets.folder import Folder

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

NAME = "imagenet-lt-exponential"
TOTAL = 275_288


def imagenet_lt_exponential(options: DatasetConfig, data_root: Path) -> Folder:
    """`imagenet-lt-exponential`: `path` is ILSVRC's train folder, `reference_path` its validation images by class.

    floor(m 0.01^(i / 999)) images of the i-th class by name, m the mean size of a class (arXiv 2507.09052), at 64 px.
    Raises DataError for folders that are not ImageNet's.
    """
    refuse_unknown_options(options, ("path", "reference_path", "image_size"))
    if options.path is None or options.reference_path is None:
        raise ConfigError(
            f"data set {NAME!r} needs --path, ILSVRC's train folder of 1,000 class folders, and --reference-path, its "
            "50,000 validation images in such folders"
        )
    dataset = Folder(
        options.path.expanduser(),
        data_root,
        reference_path=options.reference_path.expanduser(),
        image_size=options.image_size or 64,
        imbalance=0.01,
        mean_head=True,
    )
    # a class may have fewer images than the rule gives it
    if dataset.class_count != 1000 or not 0.98 * TOTAL < dataset.total <= TOTAL:
        raise DataError(
            f"the cut of {options.path} has {dataset.total:,} images of {dataset.class_count:,} classes, and that of "
            f"ImageNet's train folder {TOTAL:,} of 1,000; for others: --dataset folder --set dataset.head=mean"
        )
    dataset.name = NAME
    dataset.title = "ImageNet, cut exponentially as in CCUA"
    return dataset
