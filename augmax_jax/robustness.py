"""`evaluate_model` under the name that users import."""

from augmax_jax.evaluation.any_network import evaluate_model

__all__ = ["evaluate_model"]
