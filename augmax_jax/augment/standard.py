"""The standard augmentation of small images: flip, pad, crop.

The released code of AugMax does this to CIFAR and Tiny ImageNet images before the chains.
"""

import jax
import jax.numpy as jnp

from augmax_jax.runtime.checks import check_count, check_flag, check_images
from augmax_jax.runtime.keys import example_keys


def flip_and_crop(
    key: jax.Array, images: jax.Array, *, padding: int = 4, flip: bool = True
) -> jax.Array:
    """Flips left to right with probability 1/2, pads with black and crops back at random.

    Args:
        key: one key, or one per example `[B]`.
        images: uint8 `[B, H, W, 3]`.
        padding: pixels added on every side before the crop; 0: no crop.
        flip: whether to flip.

    Returns:
        uint8 `[B, H, W, 3]`.

    Raises:
        ValueError: `images` is not uint8 `[B, H, W, 3]`, `padding` or `flip` is not as described,
            or `key` is neither one key nor B keys.
    """
    images = check_images(images)
    check_count("padding", padding)
    check_flag("flip", flip)
    batch, height, width, _ = images.shape

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        flip_key, crop_key = jax.random.split(key)
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        if padding:
            y, x = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1)
            padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
            image = jax.lax.dynamic_slice(padded, (y, x, 0), (height, width, 3))
        return image

    return jax.vmap(augment)(example_keys(key, batch), images)
