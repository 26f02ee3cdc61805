"""The augmentation operators of AugMix: uint8 images in and out, Pillow's pixels.

Every operator takes one image, and most take one number, which may be traced:
`rotate(image, degrees)`. They are usable under `jit`, `vmap`, `pmap` and in loops. The
`Operator` records say how a chain turns a random level into that number, as the published code
of AugMix does (Hendrycks et al., ICLR 2020, `augmentations.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from augmax_jax.augment import geometry, lookup
from augmax_jax.augment.enhance import brightness, color, contrast, sharpness
from augmax_jax.augment.geometry import rotate, shear_x, shear_y, translate_x, translate_y
from augmax_jax.augment.lookup import autocontrast, equalize, posterize, solarize
from augmax_jax.runtime.errors import check_name

__all__ = [
    "ALL",
    "AUGMIX",
    "Operator",
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "equalize",
    "posterize",
    "resolve",
    "rotate",
    "sharpness",
    "shear_x",
    "shear_y",
    "solarize",
    "translate_x",
    "translate_y",
]


# (packed image, argument, `geometry.Positions` of the warp if it is one) -> packed image,
# uint32 [H, W].
OnWords = Callable[[jax.Array, jax.Array, Any], jax.Array]

# (packed image, argument, whether the result is wanted, bool scalar) -> packed image.
OnChosen = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Operator(NamedTuple):
    """An operator as a chain uses it.

    Attributes:
        name: its name in lists and error messages.
        apply: `apply(image, argument)`, uint8 `[H, W, 3]` to uint8 `[H, W, 3]`; traceable,
            and a function of its two arguments only.
        argument: `argument(level, height, width)`: the number that `apply` gets, from
            a level in [0.1, severity), where 10 is full strength; a float32 scalar in and
            out. None if `apply` ignores its argument.
        signed: whether a fair coin turns the argument's sign.
        overlaps: whether it resembles a corruption of ImageNet-C; AugMix leaves such ones out.
        on_words: a faster `apply` on packed words; it must give the pixels of `apply` for
            every argument that `argument` makes. None: `apply` itself is used.
        on_chosen: a form of `on_words` for accelerators, which compute all operators and then
            select. It also takes whether its result is wanted, so that it can save work.
            None: `on_words` is used.
        matrix: function from argument, height and width to the matrix of an affine warp;
            accelerators compute all warps as one. None: the operator is no affine warp.
    """

    name: str
    apply: Callable[[jax.Array, jax.Array], jax.Array]
    argument: Callable[[jax.Array, int, int], jax.Array] | None = None
    signed: bool = False
    overlaps: bool = False
    on_words: OnWords | None = None
    on_chosen: OnChosen | None = None
    matrix: Callable[[jax.typing.ArrayLike, int, int], jax.Array] | None = None


def _whole(scale: float) -> Callable[[jax.Array, int, int], jax.Array]:
    """Argument int(level * scale / 10)."""
    return lambda level, height, width: jnp.floor(level * (scale / 10))


def _enhance(level: jax.Array, height: int, width: int) -> jax.Array:
    """Argument 0.1 + 0.18 level, the same for the four enhancements."""
    return level * 0.18 + 0.1


REGISTRY = {
    operator.name: operator
    for operator in (
        Operator(
            "autocontrast",
            lambda image, _: autocontrast(image),
            on_words=lambda words, argument, where: lookup.autocontrast_words(words),
        ),
        Operator(
            "equalize",
            lambda image, _: equalize(image),
            on_words=lambda words, argument, where: lookup.equalize_words_stored(words, argument),
            on_chosen=lambda words, argument, chosen: lookup.equalize_words(words, chosen),
        ),
        Operator(
            "posterize",
            posterize,
            lambda level, h, w: 4 - jnp.floor(level * 0.4),
            on_words=lambda words, argument, where: lookup.posterize_words(words, argument),
        ),
        Operator(
            "rotate",
            rotate,
            _whole(30),
            signed=True,
            on_words=geometry.rotate_words,
            matrix=geometry.rotation_matrix,
        ),
        Operator(
            "solarize",
            solarize,
            lambda level, h, w: 256 - jnp.floor(level * 25.6),
            on_words=lambda words, argument, where: lookup.solarize_words(words, argument),
        ),
        Operator(
            "shear_x",
            shear_x,
            lambda level, h, w: level * 0.03,
            signed=True,
            on_words=geometry.shear_x_words,
            matrix=geometry.shear_x_matrix,
        ),
        Operator(
            "shear_y",
            shear_y,
            lambda level, h, w: level * 0.03,
            signed=True,
            on_words=geometry.shear_y_words,
            matrix=geometry.shear_y_matrix,
        ),
        # A third of the side at full strength; whole numbers, for which a warp is a shift.
        Operator(
            "translate_x",
            translate_x,
            lambda level, h, w: jnp.floor(level * (w / 30)),
            signed=True,
            on_words=lambda words, argument, where: geometry.shift(words, argument, 0),
            matrix=geometry.translate_x_matrix,
        ),
        Operator(
            "translate_y",
            translate_y,
            lambda level, h, w: jnp.floor(level * (h / 30)),
            signed=True,
            on_words=lambda words, argument, where: geometry.shift(words, 0, argument),
            matrix=geometry.translate_y_matrix,
        ),
        Operator("color", color, _enhance, overlaps=True),
        Operator("contrast", contrast, _enhance, overlaps=True),
        Operator("brightness", brightness, _enhance, overlaps=True),
        Operator("sharpness", sharpness, _enhance, overlaps=True),
    )
}

ALL: tuple[str, ...] = tuple(REGISTRY)
"""The 13 operators."""

AUGMIX: tuple[str, ...] = tuple(name for name in ALL if not REGISTRY[name].overlaps)
"""The 9 operators of AugMix that do not overlap with the corruptions of ImageNet-C."""

SETS = {"augmix": AUGMIX, "all": ALL}
"""Sets of operators by name."""


def resolve(operators: Sequence[str | Operator]) -> tuple[Operator, ...]:
    """The records of operators, which are given by name or as records.

    Args:
        operators: names of `ALL`, your own `Operator` records, or both. An operator given
            twice is drawn twice as often.

    Returns:
        The records, in the order given.

    Raises:
        ValueError: no operator is given, a name is unknown, or one is neither name nor record.
    """
    if isinstance(operators, str | Operator) or not isinstance(operators, Sequence):
        raise ValueError(f"operators must be a sequence of names or records, got {operators!r}")
    if not operators:
        raise ValueError(f"operators must hold at least one of {', '.join(ALL)}, got none")
    records = []
    for operator in operators:
        if isinstance(operator, Operator) and callable(operator.apply):
            records.append(operator)
        elif isinstance(operator, str):
            check_name("operator", operator, ALL)
            records.append(REGISTRY[operator])
        else:
            raise ValueError(f"operators must be names or Operator records, got {operator!r}")
    return tuple(records)
