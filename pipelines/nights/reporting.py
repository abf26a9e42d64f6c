"""The report of a night: one page, kept in BONDHU_HOME and with the night's MLflow run."""

from features import nights
from features.nights import Outcome
from pipelines.nights.alarms import unfinished
from pipelines.nights.night import Night

FOLDER = "reports"
TAG, ENDED_TAG = "night", "night_ended"


def report(night: Night) -> Outcome:
    """Write a night's page, and keep it as an artifact of a run of its own."""
    from pipelines.nights.page import page  # noqa: PLC0415 - imports jinja2
    from training.runs import Run  # noqa: PLC0415

    html = page(night)
    ended = "failed" if unfinished(night) else "done"
    folder = night.environment.settings.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"night-{night.date}.html"
    written = path.with_suffix(".part")
    written.write_text(html, encoding="utf-8")
    written.replace(path)
    tags = {TAG: night.date.isoformat(), ENDED_TAG: ended}
    known = [one for one in night.registry.runs(tags) if one.status == "FINISHED"]
    if known:  # an attempt before: what this one came to is what counts
        run_id = known[0].run_id
        night.registry.log_files(run_id, {path.name: html.encode()})
    else:
        run_id = night.registry.log_plain_run(
            Run(
                name=f"night {night.date}",
                tags=tags,
                files={path.name: html.encode()},
                started_at=night.as_of,
            )
        )
    nights.note_report(night.environment.engine, night.date, path=str(path), run_id=run_id)
    return {"report": str(path), "run_id": run_id}
