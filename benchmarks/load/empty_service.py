"""A floor: a BentoML service with one empty call, tuned as ours is (no access log, frozen heap)."""

import gc

import bentoml


@bentoml.service(name="empty", traffic={"timeout": 10}, logging={"access": {"enabled": False}})
class Empty:
    """Answers nothing to everybody."""

    @bentoml.on_startup
    def tame(self) -> None:
        """Keep the collector from walking what was imported."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(2_000, 25, 1_000)

    @bentoml.api(route="/empty")
    async def empty(self) -> dict[str, int]:
        """Answer an empty object."""
        return {}
