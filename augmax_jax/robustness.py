"""Robustness of any network, under the name that users call it by."""

from augmax_jax.evaluation.any_network import evaluate_model

__all__ = ["evaluate_model"]
