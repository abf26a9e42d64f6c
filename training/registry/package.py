"""A model's folder as MLflow wants it: the model's own files, and what MLflow says of them."""

from importlib.metadata import version
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import Model, infer_signature

from training.model_kind import M, ModelKind
from training.packaging import write_package

LIBRARIES = (
    "implicit",
    "matplotlib",
    "mlflow",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "sqlalchemy",
    "threadpoolctl",
)
"""What the numbers of a model, and reading it back, depend on; the lock has all the rest."""

FILES = "artifacts"
"""The folder, within a version's, of the model's own files."""


def environment() -> list[str]:
    """Return the libraries that matter, each at the version in use."""
    return [f"{name}=={version(name)}" for name in LIBRARIES]


def save(kind: ModelKind[M], model: M, temporary: Path) -> tuple[Path, str]:
    """Write the model's folder; return it with the manifest's sha256."""
    package = temporary / kind.name
    package.mkdir()
    manifest = write_package(package, model.to_files())
    saved = temporary / "model"
    example = kind.example(model)
    mlflow.pyfunc.save_model(
        str(saved),
        loader_module=kind.flavour,
        data_path=str(package),
        signature=infer_signature(example, kind.predictor(model).predict(example)),
        input_example=example,
        pip_requirements=environment(),
    )
    # MLflow would keep them in data/NAME; their place should not depend on the model's name.
    (saved / "data" / kind.name).rename(saved / FILES)
    (saved / "data").rmdir()
    described = Model.load(str(saved))
    described.flavors[mlflow.pyfunc.FLAVOR_NAME][mlflow.pyfunc.DATA] = FILES
    described.save(str(saved / "MLmodel"))
    return saved, manifest
