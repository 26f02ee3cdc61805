"""Encoded images to square uint8 tensors, inside a tf.data graph.

The TensorFlow counterpart of `augmax_jax.data.images`, for record streams.
"""

import math
from typing import Any

_ATTEMPTS = 10
_AREA = (0.08, 1.0)
_LOG_ASPECT = (math.log(3 / 4), math.log(4 / 3))


def random_resized_crop(contents: Any, size: int, seed: tuple[Any, Any]) -> Any:
    """Decodes a random window only, resizes it and flips half of the images.

    Args:
        contents: a JPEG, PNG, BMP or GIF file, scalar string.
        size: side of the result.
        seed: two integers; the result is a function of them.

    Returns:
        uint8 `[size, size, 3]`.
    """
    import tensorflow as tf

    seed = tf.stack([tf.cast(part, tf.int64) for part in seed])
    uniform = tf.random.stateless_uniform([_ATTEMPTS * 4 + 1], seed)
    attempts = tf.reshape(uniform[:-1], [_ATTEMPTS, 4])

    def from_jpeg() -> Any:
        shape = tf.image.extract_jpeg_shape(contents)
        window = choose_crop(attempts, shape[1], shape[0])
        return tf.image.decode_and_crop_jpeg(
            contents, window, channels=3, dct_method="INTEGER_ACCURATE"
        )

    def from_other() -> Any:
        image = tf.io.decode_image(contents, channels=3, expand_animations=False)
        top, left, height, width = tf.unstack(
            choose_crop(attempts, tf.shape(image)[1], tf.shape(image)[0])
        )
        return image[top : top + height, left : left + width]

    image = _resize(tf.cond(tf.io.is_jpeg(contents), from_jpeg, from_other), size, size)
    image = tf.cond(uniform[-1] < 0.5, lambda: image[:, ::-1], lambda: image)
    return tf.ensure_shape(image, [size, size, 3])


def choose_crop(uniform: Any, width: Any, height: Any) -> Any:
    """The window of a random resized crop; see `images.choose_crop`.

    Args:
        uniform: float32 in [0, 1), `[10, 4]`: area, aspect, left, top of each attempt.
        width: of the image, int32.
        height: of the image, int32.

    Returns:
        int32 `[4]`: top, left, height, width, as TensorFlow's decoder takes it.
    """
    import tensorflow as tf

    low, high = _LOG_ASPECT
    full = tf.cast(tf.stack([width, height]), tf.float32)
    area = full[0] * full[1] * (_AREA[0] + (_AREA[1] - _AREA[0]) * uniform[:, 0])
    aspect = tf.exp(low + (high - low) * uniform[:, 1])
    widths = tf.round(tf.sqrt(area * aspect))
    heights = tf.round(tf.sqrt(area / aspect))
    fits = (widths > 0) & (widths <= full[0]) & (heights > 0) & (heights <= full[1])
    i = tf.argmax(fits)
    w = tf.where(fits[i], widths[i], tf.minimum(full[0], tf.round(full[1] * math.exp(high))))
    h = tf.where(fits[i], heights[i], tf.minimum(full[1], tf.round(full[0] * math.exp(high))))
    left = tf.where(fits[i], uniform[i, 2] * (full[0] - w + 1), (full[0] - w) / 2)
    top = tf.where(fits[i], uniform[i, 3] * (full[1] - h + 1), (full[1] - h) / 2)
    # u < 1, but u * (n + 1) may still round up to n + 1 in float32.
    left, top = tf.minimum(left, full[0] - w), tf.minimum(top, full[1] - h)
    return tf.cast(tf.stack([top, left, h, w]), tf.int32)


def central(contents: Any, size: int, resize: int) -> Any:
    """Resizes the shorter side and cuts out the centre; see `images.fit`.

    Args:
        contents: an image file, scalar string.
        size: side of the result.
        resize: length given to the shorter side.

    Returns:
        uint8 `[size, size, 3]`.
    """
    import tensorflow as tf

    # An exact inverse transform, as Pillow uses; JPEG's default in TensorFlow is a fast one.
    image = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
    )
    shape = tf.shape(image)
    height, width = shape[0], shape[1]
    short = tf.minimum(height, width)
    # The longer side is rounded down, as torchvision does.
    height, width = height * resize // short, width * resize // short
    image = tf.cond(short == resize, lambda: image, lambda: _resize(image, height, width))
    top, left = (tf.cast(tf.round((side - size) / 2), tf.int32) for side in (height, width))
    return tf.ensure_shape(image[top : top + size, left : left + size], [size, size, 3])


def _resize(image: Any, height: Any, width: Any) -> Any:
    """Bilinear, antialiased, rounded to uint8."""
    import tensorflow as tf

    resized = tf.image.resize(image, [height, width], "bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
