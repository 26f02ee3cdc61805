"""What the tests of the published robustness sets share."""

import numpy as np

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def examples(split) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of a split, through its batches."""
    batches = list(split.eval_batches(7))
    images, labels, mask = (
        np.concatenate([batch[name] for batch in batches]) for name in ("image", "label", "mask")
    )
    assert mask.sum() == len(split)
    return images[mask], labels[mask]
