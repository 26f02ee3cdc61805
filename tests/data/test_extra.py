"""Training on copies beside the original images."""

import json

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.data import extra
from augmax_jax.data.arrays import load_digits

CLASSES = {"cat": 8, "dog": 8}


def load(root, *copies, **settings):
    config = {"name": str(root), "image_size": 12, "extra_train": tuple(map(str, copies))}
    return data.load(config | settings, seed=3)


def rows(split):
    """All images of a split, in memory or streamed, as a set of bytes."""
    if split.resident:
        return [image.tobytes() for image in split.arrays()[0]]
    batches = split.eval_batches(4)
    return [i.tobytes() for b in batches for i in b["image"][b["mask"]]]


@pytest.fixture
def originals(make_folder):
    return make_folder({"train": CLASSES, "test": CLASSES}, name="originals")


@pytest.fixture
def copies(make_folder):
    return [make_folder({"train": CLASSES}, name=name) for name in ("edsr", "cae")]


@pytest.mark.parametrize("resident", [True, False])
def test_copies_of_held_out_images_are_left_out(originals, copies, resident):
    loaded = load(originals, *copies, resident=resident, holdout=0.25)
    assert (len(loaded.train), len(loaded.holdout), len(loaded.test)) == (3 * 12, 4, 16)
    assert f"36 training images with those of {copies[0]}, {copies[1]}" in loaded.description
    held = set(rows(loaded.holdout))
    plain = load(originals, holdout=0.25)
    assert held == set(rows(plain.holdout))
    wanted = set(rows(plain.train))
    for folder in copies:
        for path in (folder / "train").rglob("*.png"):
            original = originals / path.relative_to(folder)
            if np.asarray(Image.open(original)).tobytes() not in held:
                wanted.add(np.asarray(Image.open(path)).tobytes())
    assert len(wanted) == 36
    assert set(rows(loaded.train)) == wanted


@pytest.mark.parametrize("resident", [True, False])
def test_an_epoch_has_all_of_them_and_resumes(originals, copies, resident):
    loaded = load(originals, *copies, resident=resident, holdout=0)
    stream = loaded.train.train_batches(12)
    batches = [next(stream) for _ in range(8)]
    epoch = [image.tobytes() for batch in batches[:4] for image in batch["image"]]
    assert len(set(epoch)) == 48
    labels = np.concatenate([batch["label"] for batch in batches[:4]])
    np.testing.assert_array_equal(np.bincount(labels), [24, 24])
    resumed = next(loaded.train.train_batches(12, start_step=6))
    np.testing.assert_array_equal(resumed["image"], batches[6]["image"])


def test_names_match_below_the_class_and_without_extension(originals, make_folder):
    nested = make_folder({"train": CLASSES}, name="nested", ext="jpeg")
    loaded = load(originals, nested, holdout=0.25)
    assert len(loaded.train) == 2 * 12


def manifest(folder, **settings):
    path = folder / "train" / extra.MANIFEST
    path.write_text(json.dumps({"limit": 0} | settings))


def test_what_cannot_be_used_is_refused(originals, copies, make_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder.*deepaugment distort --network") as e:
        load(originals, tmp_path / "none")
    assert f"--dataset {originals} --split train --out {tmp_path / 'none'}" in str(e.value)
    other = make_folder({"train": {"cat": 8, "owl": 8}}, name="other")
    with pytest.raises(ValueError, match=r"Only there: 'owl'\. Only in .*: 'dog'"):
        load(originals, other)
    unnamed = make_folder({"train": CLASSES}, name="unnamed")
    for path in sorted((unnamed / "train").rglob("*.png")):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(ValueError, match="no image there has the name of an original"):
        load(originals, unnamed, holdout=0.25)
    assert len(load(originals, unnamed, holdout=0).train) == 32
    manifest(copies[0], images=17)
    with pytest.raises(ValueError, match="is not complete: 16 of 17 images"):
        load(originals, copies[0])
    manifest(copies[0], images=16)
    assert len(load(originals, copies[0], holdout=0).train) == 32
    with pytest.raises(ValueError, match=r"extra_train must be a tuple of different folders"):
        load(originals, copies[0], copies[0])
    with pytest.raises(ValueError, match=r"must be a tuple of different folders, got 'copies'"):
        data.load({"name": str(originals), "extra_train": "copies"}, seed=0)


def test_a_copy_of_a_few_images_need_not_have_all_classes(make_folder):
    three = CLASSES | {"owl": 8}
    originals = make_folder({"train": three, "test": three}, name="three")
    few = make_folder({"train": {"cat": 2, "owl": 1}}, name="few")
    with pytest.raises(ValueError, match=r"Only there: none\. Only in .*: 'dog'"):
        load(originals, few)
    manifest(few, images=3, limit=3)
    loaded = load(originals, few, holdout=0)
    np.testing.assert_array_equal(np.bincount(loaded.train.arrays()[1]), [10, 8, 9])


@pytest.fixture
def make_digits(tmp_path):
    """Copies of digits: white images named by class and index."""

    def make(count=1438, **settings):
        root = tmp_path / "digits-copy"
        images, labels = load_digits(12)[0]
        for i in range(count):
            folder = root / "train" / str(labels[i])
            folder.mkdir(parents=True, exist_ok=True)
            # Mirrored: recognisable as the copy of this image and no other.
            Image.fromarray(images[i][::-1]).save(folder / f"{i:08}.png")
        usual = {"dataset": "digits", "split": "train", "originals": 1438, "images": count}
        manifest(root, **usual | settings)
        return root

    return make


def test_digits_by_place(make_digits):
    root = make_digits(300, limit=300)
    config = {"name": "digits", "image_size": 12, "holdout": 0.1, "extra_train": (str(root),)}
    loaded = data.load(config, seed=0)
    plain = data.load(config | {"extra_train": ()}, seed=0)
    held = {image.tobytes() for image in loaded.holdout.arrays()[0]}
    assert held == {image.tobytes() for image in plain.holdout.arrays()[0]}
    count = len(plain.train)
    images, labels = loaded.train.arrays()
    np.testing.assert_array_equal(images[:count], plain.train.arrays()[0])
    assert 250 < len(images) - count < 300
    of = {i.tobytes(): label for i, label in zip(*plain.train.arrays(), strict=True)}
    for image, label in zip(images[count:], labels[count:], strict=True):
        assert of[image[::-1].tobytes()] == label


def test_places_mean_something_in_their_own_set_only(make_digits, make_folder):
    root = make_digits(300, limit=300, originals=1000)
    config = {"name": "digits", "image_size": 12, "extra_train": (str(root),)}
    with pytest.raises(ValueError, match="originals is 1000, that of the training set is 1438"):
        data.load(config, seed=0)
    manifest(root, dataset="mnist", split="train", originals=1438, images=300)
    with pytest.raises(ValueError, match="another set: its dataset is 'mnist'"):
        data.load(config, seed=0)
    (root / "train" / extra.MANIFEST).unlink()
    with pytest.raises(ValueError, match=r"has no train/deepaugment\.json"):
        data.load(config, seed=0)


def test_tfds_by_place(prepare_tfds, tmp_path, rng):
    """The copied images are those that the indices in the names mean.

    Files of 40 records: more than tfds takes from one at a time when it reads several.
    """
    from augmax_jax.data.named_images import open_images

    images = list(rng.integers(0, 256, (160, 12, 12, 3), np.uint8))
    labels = [i % 3 for i in range(160)]
    names = ["a", "b", "c"]
    splits = {"train": (images, labels), "test": (images[:6], labels[:6])}
    root = prepare_tfds("shapes", splits, names=names, shape=(12, 12, 3), shards=4)
    opened = open_images("shapes", "train", data_dir=str(root))
    assert not opened.shuffled
    assert len(opened) == 160
    copies = tmp_path / "copies"
    mirrored = set()
    for i in [5, 36, 99, 0, 1, 159]:  # forwards in jumps, and back
        (image,) = opened.read([i])
        path = copies / "train" / f"{opened.names[i]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(image)[::-1]
        mirrored.add(pixels.tobytes())
        Image.fromarray(pixels).save(path)
    assert len(mirrored) == 6
    manifest(copies, dataset="shapes", split="train", originals=160, images=6, limit=6)
    config = {"name": "shapes", "data_dir": str(root), "image_size": 12, "holdout": 0.5}
    config |= {"extra_train": (str(copies),)}
    loaded = data.load(config, seed=0)
    held, _ = loaded.holdout.arrays()
    trained, trained_labels = loaded.train.arrays()
    assert 79 <= len(held) <= 81
    kept = len(trained) - (160 - len(held))
    left_out = mirrored & {image[::-1].tobytes() for image in held}
    assert 0 < len(left_out) < 6
    assert kept == 6 - len(left_out)
    of = {i.tobytes(): label for i, label in zip(trained[:-kept], trained_labels, strict=False)}
    for image, label in zip(trained[-kept:], trained_labels[-kept:], strict=True):
        assert of[image[::-1].tobytes()] == label
    with pytest.raises(ValueError, match="is streamed by tfds, which cannot be mixed"):
        data.load(config | {"resident": False}, seed=0)
