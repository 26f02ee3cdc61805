"""Spatter: drops of water, or mud. One image per call; see `noise`.

Water follows the published chain of 8-bit OpenCV steps: edges of the drops (Canny), distance to
them, histogram equalisation, embossing.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.corruptions import filters

_WATER = (175.0, 238.0, 238.0)
_MUD = (63.0, 42.0, 20.0)
_FARTHEST = 20.0  # larger distances are set to this
# Steps (down, right) of OpenCV's 5×5 distance mask, and their lengths.
_MOVES = {
    (sign_down * down, sign_right * right): length
    for down, right, length in (
        (0, 1, 1.0),
        (1, 0, 1.0),
        (1, 1, 1.4),
        (1, 2, 2.1969),
        (2, 1, 2.1969),
    )
    for sign_down in (-1, 1)
    for sign_right in (-1, 1)
}


def spatter_constants(constants: tuple[float, ...], height: int, width: int) -> dict[str, Any]:
    """Constants of `spatter`."""
    mean, deviation, sigma, threshold, strength, mud = constants
    return {
        "mean": np.float32(mean),
        "deviation": np.float32(deviation),
        "smooth": filters.gaussian(sigma, height, width),
        "threshold": np.float32(threshold),
        "strength": np.float32(strength),
        "edge": filters.gaussian(strength if mud else 0, height, width),
        "mud": np.bool_(mud),
    }


def spatter(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Splashes water at the first three severities, mud at the last two."""
    noise = jax.random.normal(key, (*image.shape[:2], 1))
    noise = constants["mean"] + constants["deviation"] * noise
    liquid = filters.apply_sum(constants["smooth"], noise[None])[0, ..., 0]
    liquid = jnp.where(liquid < constants["threshold"], 0, liquid)

    def mud(liquid: jax.Array) -> jax.Array:
        wet = (liquid > constants["threshold"]).astype(jnp.float32)[..., None]
        wet = filters.apply_sum(constants["edge"], wet[None])[0]
        wet = jnp.where(wet < 0.8, 0, wet)
        return image * (1 - wet) + wet * jnp.asarray(_MUD)[None, None]

    def water(liquid: jax.Array) -> jax.Array:
        drops = drop_relief(jnp.floor(255 * liquid).astype(jnp.int32) & 255)
        return image + (constants["strength"] * drops)[..., None] * jnp.asarray(_WATER)[None, None]

    return jax.lax.cond(constants["mud"], mud, water, liquid)


def drop_relief(liquid: jax.Array) -> jax.Array:
    """Shades the water as drops: thickness int32 `[H, W]` in 0..255 to float in [0, 1]."""
    distance = jnp.minimum(edge_distance(canny(liquid, 50, 150)), _FARTHEST)
    relief = jnp.floor(_window(distance, np.full((3, 3), 1 / 9)) + 1e-4)
    relief = equalise(relief.astype(jnp.int32))
    emboss = np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = jnp.clip(_window(relief.astype(jnp.float32), emboss), 0, 255)
    relief = jnp.round(_window(relief, np.full((3, 3), 1 / 9)))
    shaded = liquid.astype(jnp.float32) * relief
    return shaded / jnp.maximum(jnp.max(shaded), 1)


def _window(image: jax.Array, weights: np.ndarray) -> jax.Array:
    """Correlation with a 3×3 window, borders mirrored about the edge pixels."""
    height, width = image.shape
    padded = jnp.pad(image, 1, mode="reflect" if min(height, width) > 1 else "edge")
    return sum(
        weights[i, j] * padded[i : i + height, j : j + width] for i in range(3) for j in range(3)
    )


def canny(image: jax.Array, low: int, high: int) -> jax.Array:
    """Canny's edges as OpenCV finds them (3×3 Sobel, L1 magnitude): int32 to bool `[H, W]`."""
    height, width = image.shape
    padded = jnp.pad(image, 1, mode="edge")

    def at(array: jax.Array, down: int, right: int) -> jax.Array:
        return array[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    def sobel(transposed: bool) -> jax.Array:
        total = jnp.zeros_like(image)
        for across, smooth in ((-1, 1), (0, 2), (1, 1)):
            for along in (-1, 1):
                place = (along, across) if transposed else (across, along)
                total = total + along * smooth * at(padded, *place)
        return total

    dx, dy = sobel(False), sobel(True)
    magnitude = jnp.abs(dx) + jnp.abs(dy)
    around = jnp.pad(magnitude, 1)

    # Thin to one pixel across the gradient; tan 22.5° in 15-bit fixed point.
    x, y = jnp.abs(dx), jnp.abs(dy) << 15
    flat = 13573 * x
    sideways = (magnitude > at(around, 0, -1)) & (magnitude >= at(around, 0, 1))
    upright = (magnitude > at(around, -1, 0)) & (magnitude >= at(around, 1, 0))
    falling = (magnitude > at(around, -1, -1)) & (magnitude > at(around, 1, 1))
    rising = (magnitude > at(around, -1, 1)) & (magnitude > at(around, 1, -1))
    diagonal = jnp.where((dx ^ dy) < 0, rising, falling)
    crest = jnp.where(y < flat, sideways, jnp.where(y > flat + (x << 16), upright, diagonal))

    weak = crest & (magnitude > low)
    strong = weak & (magnitude > high)

    def grow(edges: jax.Array) -> jax.Array:
        padded = jnp.pad(edges, 1)
        near = [at(padded, i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        return weak & jnp.any(jnp.stack(near), axis=0)

    def step(state):
        edges, _ = state
        grown = grow(edges)
        return grown, jnp.any(grown != edges)

    return jax.lax.while_loop(lambda state: state[1], step, (strong, jnp.bool_(True)))[0]


def edge_distance(edges: jax.Array) -> jax.Array:
    """Distance to the nearest edge in steps of OpenCV's 5×5 mask, exact up to 20."""
    height, width = edges.shape
    far = 2 * _FARTHEST

    def relax(_, distance):
        padded = jnp.pad(distance, 2, constant_values=far)
        for (down, right), length in _MOVES.items():
            moved = padded[2 + down :, 2 + right :][:height, :width]
            distance = jnp.minimum(distance, moved + length)
        return distance

    start = jnp.where(edges, 0.0, far)
    return jax.lax.fori_loop(0, int(_FARTHEST), relax, start)


def equalise(image: jax.Array) -> jax.Array:
    """Histogram equalisation as OpenCV does it: int32 `[H, W]` in 0..255."""
    histogram = jnp.zeros(256, jnp.int32).at[image.reshape(-1)].add(1)
    first = jnp.argmax(histogram > 0)
    rest = image.size - histogram[first]
    total = jnp.cumsum(histogram) - histogram[first]
    scaled = jnp.round(total.astype(jnp.float32) * (255 / jnp.maximum(rest, 1).astype(jnp.float32)))
    table = jnp.where(rest == 0, jnp.arange(256), jnp.maximum(scaled, 0).astype(jnp.int32))
    return table[image]
