"""Settings of a config that follow another setting until someone sets them.

A published recipe has rules as well as numbers: AugMix has its own λ, the learning rate grows
with the batch, the schedule's boundaries are shares of the training's length. A config file states
such a rule once; the setting then has the right value whatever the command line makes of the
method, the batch or the length, in any order. Setting a value of its own ends the rule:

    c.objective.consistency_weight = 1.0
    by_method(c, "objective.consistency_weight", augmix=12.0)
    c.method = "augmix"  # c.objective.consistency_weight is now 12.0
    c.objective.consistency_weight = 3.0  # now it is 3.0, with any method
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from augmax_jax.runtime import extras

with extras.needed("train"):
    from ml_collections import ConfigDict, FieldReference


class _Operation(NamedTuple):
    """The `op` of a `FieldReference`, whose value is then fn(value, *args)."""

    fn: Callable[..., Any]
    args: list[Any]


class _Follower(FieldReference):
    """A reference that knows the name of the setting it follows; "" once it has its own value."""

    source = ""

    def set(self, value: Any, type_safe: bool = True) -> None:
        super().set(value, type_safe)
        self.source = ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.source = state.get("source", "")


def follow(config: ConfigDict, name: str, source: str, rule: Callable[[Any], Any]) -> None:
    """Computes one setting from another for as long as nobody sets it.

    Args:
        config: changed in place.
        name: name of the setting, "group.setting"; it must exist, and keeps its type.
        source: name of the setting that it follows.
        rule: function from the value of `source` to the value of `name`.

    Raises:
        KeyError: there is no such setting.
        TypeError: the rule gives a value of another type.
    """
    group, last = _owner(config, name)
    kind = group.get_type(last)
    value = rule(_value(config, source))
    if type(value) is not kind:
        raise TypeError(f"the rule of {name} must give a {kind.__name__}, got {value!r}")
    holder, key = _owner(config, source)
    operation = _Operation(functools.partial(_apply, rule), [holder.get_ref(key)])
    reference = _Follower(kind(), field_type=kind, op=operation)
    reference.source = source
    del group[last]  # assigning over an old reference would set its value to the new one
    group[last] = reference


def by_method(config: ConfigDict, name: str, /, **own: Any) -> None:
    """Gives some training methods their own value of a setting; the others keep the one it has.

    Args:
        config: changed in place.
        name: name of the setting.
        **own: the value for each such method, as METHOD=VALUE.
    """
    follow(config, name, "method", functools.partial(_choose, own, _value(config, name)))


def by_epochs(config: ConfigDict, name: str, *, of: float) -> None:
    """Keeps epochs at the same share of the training, however long it is.

    Args:
        config: changed in place.
        name: name of a setting that is a tuple of epochs.
        of: length in epochs of the training that the present values are for.
    """
    epochs = tuple(_value(config, name))
    follow(config, name, "epochs", functools.partial(_scale_epochs, epochs, of))


def scale_learning_rate(config: ConfigDict, rate: float = 0.1, batch_size: int = 256) -> None:
    """Makes the learning rate proportional to the batch size: `rate` at `batch_size`.

    The released code does so on ImageNet and Tiny ImageNet, after Goyal et al., "Accurate, large
    minibatch SGD", 2017.
    """
    share = rate / batch_size
    follow(config, "optimizer.learning_rate", "batch_size", functools.partial(_multiply, share))


def followers(config: ConfigDict) -> list[tuple[str, str]]:
    """The settings that follow another one now, each with the name of that one."""
    found = []
    for name, value in config.items(preserve_field_references=True):
        if isinstance(value, ConfigDict):
            found += [(f"{name}.{inner}", source) for inner, source in followers(value)]
        elif isinstance(value, _Follower) and value.source:
            found.append((name, value.source))
    return found


def describe(config: ConfigDict) -> str:
    """The values of the settings that follow others, for the log; empty if there are none."""
    return ", ".join(
        f"{name}={_value(config, name)!r} ({source}={_value(config, source)!r})"
        for name, source in followers(config)
    )


def _owner(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """The group that holds the setting "a.b.c", and its name there."""
    *path, last = name.split(".")
    for part in path:
        config = config[part]
    return config, last


def _value(config: ConfigDict, name: str) -> Any:
    group, last = _owner(config, name)
    return group[last]


# Rules are module-level functions, so that a config can be pickled and copied.
def _apply(rule: Callable[[Any], Any], ignored: Any, value: Any) -> Any:
    del ignored
    return rule(value)


def _choose(own: dict[str, Any], usual: Any, method: str) -> Any:
    return own.get(method, usual)


def _scale_epochs(epochs: tuple[float, ...], of: float, length: float) -> tuple[float, ...]:
    return tuple(length / of * epoch for epoch in epochs)


def _multiply(factor: float, value: float) -> float:
    return value * factor
