"""Converts variables between networks with one batch norm and networks with two.

Evaluation uses the clean route alone (the paper's BNc, Sec. 4.3), so a trained dual network folds
into an ordinary one with the same logits.
"""

from collections.abc import Mapping
from typing import Any

from augmax_jax.models.norm import ROUTES, statistics_collection
from augmax_jax.runtime.errors import check_name

# norm with two routes -> the norm of one of its routes
SINGLE_NORM = {"dubn": "bn", "dubin": "ibn"}


def single_route(variables: Mapping[str, Any], route: str = "clean") -> dict[str, Any]:
    """Folds a network with two batch norms into one with a single norm: it keeps one route.

    Args:
        variables: variables of a network with norm "dubn" or "dubin", any array type.
        route: the route to keep; evaluation uses "clean".

    Returns:
        Variables of the same network with norm "bn" or "ibn" (`SINGLE_NORM[norm]`); the arrays
        are not copied. That network gives the logits that the dual one gives on `route`.

    Raises:
        ValueError: the route is unknown, or `variables` are none, or have one route only.
    """
    check_name("route", route, ROUTES)
    _check_variables(variables)
    source = statistics_collection("dubn", route)
    if source not in variables:
        raise ValueError(f"variables must have two routes, got collections {sorted(variables)}")

    def keep(tree: Mapping[str, Any]) -> dict[str, Any]:
        result = {}
        for name, value in tree.items():
            if isinstance(value, Mapping):
                result[name] = keep(value)
            elif name.startswith(f"{route}_"):
                result[name.removeprefix(f"{route}_")] = value
            elif not name.startswith(tuple(f"{r}_" for r in ROUTES)):
                result[name] = value
        return result

    collection = statistics_collection("bn", route)
    return {"params": keep(variables["params"]), collection: variables[source]}


def both_routes(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Turns a network with one route into one with two equal routes, to fine-tune it.

    Args:
        variables: variables of a network with norm "bn" or "ibn", any array type.

    Returns:
        Variables of the same network with norm "dubn" or "dubin", whose routes are equal and
        share their arrays.

    Raises:
        ValueError: `variables` are none, or have two routes.
    """
    _check_variables(variables)
    collection = statistics_collection("bn", ROUTES[0])
    if collection not in variables:
        raise ValueError(f"variables must have one route, got collections {sorted(variables)}")
    norms = variables[collection]

    def double(tree: Mapping[str, Any], statistics: Mapping[str, Any] | None) -> dict[str, Any]:
        result = {}
        for name, value in tree.items():
            if isinstance(value, Mapping):
                inner = None if statistics is None else statistics.get(name)
                result[name] = double(value, inner)
            elif name in ("scale", "bias") and statistics is not None:
                result |= {f"{route}_{name}": value for route in ROUTES}
            else:
                result[name] = value
        return result

    return {
        "params": double(variables["params"], norms),
        **{statistics_collection("dubn", route): norms for route in ROUTES},
    }


def _check_variables(variables: Mapping[str, Any]) -> None:
    """Raises ValueError unless they are those of a network."""
    if not isinstance(variables, Mapping) or not isinstance(variables.get("params"), Mapping):
        raise ValueError(
            "variables must be a network's, {'params': ..., 'batch_stats...': ...}, got "
            f"{sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__}"
        )
