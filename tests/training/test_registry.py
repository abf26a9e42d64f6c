import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import sqlalchemy as sa

from features.database import mlflow_uri
from recommender.cold_start import Stage
from recommender.scoring import PRIOR, Scorer
from training.errors import RegistryError
from training.packaging import MANIFEST, sha256
from training.registry import Registry
from training.registry.turns import turn
from training.review.promotion import Decision, history, promote
from training.runs import CHAMPION, SCORER, Run, StoredRun
from training.scorer_flavour import KIND

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OTHER = Scorer.of({stage: {"history": 0.123456789, "novelty": 0.876543211} for stage in Stage})
SERVED = sa.text(
    """
    SELECT v.version, v.storage_location
    FROM mlflow.registered_model_aliases a
    JOIN mlflow.model_versions v ON v.name = a.name AND v.version = a.version
    WHERE a.name = 'scorer' AND a.alias = 'champion'
    """
)


def test_version_1_is_the_prior_and_serves(registry: Registry) -> None:
    assert registry.versions(SCORER) == []
    assert registry.champion(SCORER) is None
    assert registry.ensure_prior().number == 1
    assert registry.ensure_prior().number == 1
    assert [version.number for version in registry.versions(SCORER)] == [1]
    champion = registry.champion(SCORER)
    assert champion is not None
    assert champion.number == 1
    assert registry.load(KIND, 1) == PRIOR


def test_a_version_comes_back_exactly(registry: Registry, tmp_path: Path) -> None:
    registry.ensure_prior()
    run = Run(
        "second",
        params={"seed": 7},
        metrics={"month_2_plus/gain": 0.5},
        tags={"data_sha256": "abc"},
        figures={"weights.png": b"a picture"},
        data=("histories", "0" * 64, "undated"),
        started_at=NOW,
        seconds=2.5,
    )
    version = registry.log_run(run, KIND, OTHER, {"fitted_from": "histories"})
    assert version.number == 2
    assert registry.version(SCORER, 2).tags["fitted_from"] == "histories"
    assert registry.load(KIND, 2) == OTHER
    assert registry.metrics(version.run_id) == {"month_2_plus/gain": 0.5}
    assert list(tmp_path.rglob("weights.png"))
    # Nothing that runs code when it is read.
    assert not [p for p in tmp_path.rglob("*") if p.suffix in {".pkl", ".pickle", ".joblib", ".py"}]


def test_the_service_finds_the_files_by_sql(
    registry: Registry, engine: sa.Engine, tmp_path: Path
) -> None:
    registry.ensure_prior()
    registry.log_run(Run("second"), KIND, OTHER, {})
    registry.set_alias(SCORER, CHAMPION, 2)
    with engine.connect() as connection:
        version, location = connection.execute(SERVED).one()
    folder = Path(unquote(urlsplit(location).path)) / "artifacts"
    content = (folder / "scorer.json").read_bytes()
    assert version == 2
    assert content.decode() == OTHER.to_json()
    assert json.loads((folder / MANIFEST).read_text()) == {"scorer.json": sha256(content)}


@pytest.mark.parametrize("also_manifest", [False, True])
def test_a_tampered_file_is_refused(registry: Registry, also_manifest: bool) -> None:
    folder = registry.folder(registry.ensure_prior())
    content = OTHER.to_json().encode()
    (folder / "scorer.json").write_bytes(content)
    if also_manifest:
        (folder / MANIFEST).write_text(json.dumps({"scorer.json": sha256(content)}))
    with pytest.raises(RegistryError, match="is not what was registered"):
        registry.load(KIND, 1)


def test_a_missing_version_or_file_is_named(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="there is no scorer 3"):
        registry.load(KIND, 3)
    (registry.folder(registry.ensure_prior()) / "scorer.json").unlink()
    with pytest.raises(RegistryError, match=r"scorer\.json cannot be read"):
        registry.load(KIND, 1)


def test_a_name_that_no_model_has_is_named(registry: Registry) -> None:
    for name in ("nothing", "it's", "a' or name='scorer", ""):
        assert registry.versions(name) == []
        with pytest.raises(RegistryError, match=f"there is no {name} 1"):
            registry.version(name, 1)


def test_an_interrupted_first_start_is_finished(registry: Registry) -> None:
    registry.log_run(Run("prior"), KIND, PRIOR, {})
    assert registry.champion(SCORER) is None
    registry.ensure_prior()
    champion = registry.champion(SCORER)
    assert champion is not None
    assert champion.number == 1


def test_a_run_that_breaks_off_leaves_no_version(registry: Registry) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        registry.log_run(Run("broken", metrics={"x": "not a number"}), KIND, OTHER, {})  # type: ignore[dict-item]
    assert registry.versions(SCORER) == []


def test_a_database_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry(f"postgresql+psycopg2://x@/none?host={tmp_path}", tmp_path)


def test_only_the_registry_imports_mlflow() -> None:
    others = "training.scorer, training.review.promotion, training.scorer_flavour"
    code = f"import sys, {others}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_registry_is_silent(engine: sa.Engine, tmp_path: Path) -> None:
    uri = mlflow_uri(engine.url.render_as_string(hide_password=False))
    code = (
        "import sys; from pathlib import Path; from training.registry import Registry;"
        "Registry(sys.argv[1], Path(sys.argv[2])).ensure_prior()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri, str(tmp_path)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_what_a_run_keeps_comes_back(registry: Registry) -> None:
    parent = registry.log_plain_run(Run("search", tags={"kind": "search"}, started_at=NOW))
    kept = Run(
        "trial 1",
        params={"seed": 7},
        metrics={"gain": 0.25, "gain_low": -0.5},
        tags={"data_sha256": "ab" * 32, "kind": "trial"},
        figures={"weights.png": b"a picture"},
        files={"evaluation.json": b"{}", "parts/one.json": b"[1]"},
        data=("histories", "ab" * 32, "2026-01-01 to 2026-02-01"),
        started_at=NOW + timedelta(days=1),
        seconds=2.5,
        parent=parent,
    )
    first = registry.log_plain_run(kept)
    stored = registry.run(first)
    assert stored == StoredRun(
        run_id=first,
        name="trial 1",
        status="FINISHED",
        params={"seed": "7"},
        metrics=kept.metrics,
        tags=stored.tags,
        data=kept.data,
        started_at=kept.started_at,
        seconds=2.5,
    )
    assert stored.tags.items() >= kept.tags.items()
    assert not {"mlflow.user", "mlflow.source.name"} & stored.tags.keys()
    second = registry.log_plain_run(replace(kept, name="2", started_at=NOW + timedelta(days=2)))
    assert [run.run_id for run in registry.children(parent)] == [second, first]
    assert [run.run_id for run in registry.runs({"kind": "search"})] == [parent]
    assert len(registry.runs()) == 3
    assert registry.artifact(first, "figures/weights.png") == b"a picture"
    assert registry.artifact(first, "parts/one.json") == b"[1]"
    assert registry.versions(SCORER) == []


def test_what_is_not_kept_is_named_in_one_line(registry: Registry) -> None:
    run_id = registry.log_plain_run(Run("plain"))
    for asked in (
        lambda: registry.run("0" * 32),
        lambda: registry.run("no id; at 'all'"),
        lambda: registry.artifact("0" * 32, "evaluation.json"),
        lambda: registry.artifact(run_id, "evaluation.json"),
        lambda: registry.artifact(run_id, "../../etc/passwd"),
        lambda: registry.runs({"kind": "' or 1=1"}),
    ):
        with pytest.raises(RegistryError) as error:
            asked()
        assert "\n" not in str(error.value)


def test_aliases_are_numbers(registry: Registry) -> None:
    assert registry.aliases(SCORER) == {}
    registry.ensure_prior()
    registry.set_alias(SCORER, "challenger", 1)
    assert registry.aliases(SCORER) == {CHAMPION: 1, "challenger": 1}


class SlowToDecide(Registry):
    """Reads the run when the other one does too; where that one waits, after half a second."""

    meeting: threading.Barrier

    def run(self, run_id: str) -> StoredRun:
        with suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.5)
        return super().run(run_id)


def test_two_promotions_at_the_same_moment_are_taken_one_after_another(
    registry: Registry, engine: sa.Engine, tmp_path: Path
) -> None:
    # Each is declined, and recorded on the same version.
    believed = {"barred_rows_used": 1.0, "leaking_values": 0.0, "leak_checked_values": 1.0}
    version = registry.log_run(Run("one", metrics=believed), KIND, PRIOR, {})
    registry.log_run(Run("other", metrics=believed), KIND, OTHER, {})
    uri = mlflow_uri(engine.url.render_as_string(hide_password=False))
    SlowToDecide.meeting = threading.Barrier(2)

    def decide(who: str) -> Decision:
        return promote(SlowToDecide(uri, tmp_path), SCORER, version.number, who=who)

    with ThreadPoolExecutor(2) as both:
        decisions = list(both.map(decide, ["ada", "bob"]))
    assert [one.gate for one in decisions] == ["trainable", "trainable"]
    assert {entry.who for entry in history(registry, SCORER)} == {"ada", "bob"}

    def force(number: int) -> Decision:
        slow = SlowToDecide(uri, tmp_path)
        return promote(slow, SCORER, number, force=True, reason="a test", who=str(number))

    with ThreadPoolExecutor(2) as both:
        assert all(one.promoted for one in both.map(force, [1, 2]))
    first, second = [entry for entry in history(registry, SCORER) if entry.promoted]
    assert (first.previous_champion, second.previous_champion) == (None, first.number)
    champion = registry.champion(SCORER)
    assert champion is not None
    assert champion.number == second.number


def test_a_turn_that_does_not_come_is_said(registry: Registry, engine: sa.Engine) -> None:
    uri = mlflow_uri(engine.url.render_as_string(hide_password=False))
    said = "somebody else has been deciding on scorer for 1 s"
    with (
        registry.turn(SCORER),
        turn(uri, "colisten", wait_seconds=1),
        pytest.raises(RegistryError, match=said),
        turn(uri, SCORER, wait_seconds=1),
    ):
        pass
    with turn(uri, SCORER, wait_seconds=1):
        pass
