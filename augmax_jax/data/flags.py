"""The flags of commands that read the images of a dataset."""

import argparse

from augmax_jax.data.settings import TEST_FRACTION


def dataset_flags(split: str) -> argparse.ArgumentParser:
    """A parser to be the parent of a command's own: which images, and from where.

    Args:
        split: the default of `--split`.
    """
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument
    add("--dataset", required=True, help="digits, a tfds name, or a folder of images")
    add("--split", default=split, help="split of the dataset (default: %(default)s)")
    add(
        "--labels",
        default="",
        help="table of file,label[,split] of a folder, relative to it or absolute (default: its "
        "labels.csv or labels.tsv, if there)",
    )
    add(
        "--test_fraction",
        type=float,
        default=TEST_FRACTION,
        help="share that is held out of a folder without a test split (default: %(default)s)",
    )
    add("--data_dir", default="", help="where tfds data was prepared")
    add(
        "--bad_images",
        default="refuse",
        help="refuse images that cannot be read (default), or skip them and name them",
    )
    add("--seed", type=int, default=0)
    return parser
