"""The registry: runs, versions and aliases, kept by MLflow; the one place that knows MLflow."""

from training.registry.registry import EXPERIMENT, FILES, MANIFEST_TAG, Registry

__all__ = ["EXPERIMENT", "FILES", "MANIFEST_TAG", "Registry"]
