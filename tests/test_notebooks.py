"""The notebooks run from the first cell to the last, in one simulated world, and only import."""

import ast
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
import sqlalchemy as sa
from nbclient import NotebookClient

from features.build import build_features
from features.database import connect
from features.migrations import migrate
from features.sources.world import build_world
from pipelines.servers import Endpoints
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OUTSIDE = ("MLFLOW_TRACKING_URI", "BONDHU_DATA")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def test_they_are_five_in_order() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_import_what_they_use_and_keep_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.cells[0].cell_type == "markdown"
    assert "**What to change next.**" in notebook.cells[-2].source + notebook.cells[-1].source
    for cell in code:
        found = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, DEFINITIONS)]
        assert not found, f"define it in a module and import it: {cell.source}"
    assert len(json.dumps([cell.outputs for cell in code])) < 10_000


@pytest.fixture(scope="module")
def shared_world(servers: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One small world for all of them, where a notebook alone would make a large one."""
    name = f"bondhu_notebooks_{uuid.uuid4().hex}"
    admin = connect(servers.database_url).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
    url = sa.make_url(servers.database_url).set(database=name).render_as_string(hide_password=False)
    engine = connect(url)
    migrate(engine)
    build_world(engine, tracks=500, listeners=60, now=datetime.now(UTC))
    build_features(engine, now=datetime.now(UTC))
    engine.dispose()
    with pytest.MonkeyPatch.context() as patch:
        for variable in OUTSIDE:
            patch.delenv(variable, raising=False)
        patch.setenv("DATABASE_URL", url)
        patch.setenv("REDIS_URL", servers.redis_url)
        patch.setenv("BONDHU_HOME", str(tmp_path_factory.mktemp("notebooks")))
        patch.setenv("PYTHONPATH", str(ROOT))
        yield
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.mark.usefixtures("shared_world")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=dict(os.environ))
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures
    errors = [
        o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"
    ]
    assert not errors, errors
