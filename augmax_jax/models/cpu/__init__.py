"""Convolutions and norms in the form that XLA runs fast on CPUs (docs/performance_log.md)."""
