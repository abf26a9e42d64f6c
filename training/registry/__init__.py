"""The registry: runs, versions and aliases, kept by MLflow; the one place that knows MLflow."""

from training.registry.registry import Registry

__all__ = ["Registry"]
