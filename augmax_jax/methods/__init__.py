"""Training methods: each turns a batch into views of it; one step turns views into a loss.

A view is a batch of images, the norm route it takes, its weight in the classification
loss, and whether it takes part in the consistency term. Every row of the paper's tables
is a method plus a config. docs/methods.md says what each method does and costs.

A method is one record (`MethodSpec`), in a file of its own or of its family. The rest of
the package reads its lists (routes of views, labels, curves, checks) from the records.
"""

from augmax_jax.methods.augmax import check_share, maximise
from augmax_jax.methods.base import (
    AUGMIX,
    CLEAN,
    VARIANTS,
    Method,
    MethodSpec,
    RoutedLogitsFn,
    Setup,
    StepInputs,
    Variant,
    View,
    ViewSpec,
    stateless,
)
from augmax_jax.methods.registry import (
    METHODS,
    check,
    create,
    curves,
    register,
    routes,
    view_labels,
    view_names,
)
from augmax_jax.methods.settings import chain_settings, operator_names

__all__ = [
    "AUGMIX",
    "CLEAN",
    "METHODS",
    "VARIANTS",
    "Method",
    "MethodSpec",
    "RoutedLogitsFn",
    "Setup",
    "StepInputs",
    "Variant",
    "View",
    "ViewSpec",
    "chain_settings",
    "check",
    "check_share",
    "create",
    "curves",
    "maximise",
    "operator_names",
    "register",
    "routes",
    "stateless",
    "view_labels",
    "view_names",
]
