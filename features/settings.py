"""Settings: every environment variable that Bondhu reads, read once and validated.

Elsewhere the environment is only handed on, to the processes that a command starts.
"""

from pathlib import Path
from typing import Annotated, Literal

from cryptography.fernet import Fernet
from pydantic import AfterValidator, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent
REDIS_SHARES = 6
"""A worker's: two for its edge, and one for each of the four databases of computations."""


class SettingsError(Exception):
    """A setting is wrong; the message names it."""


def _check_address(secret: SecretStr) -> SecretStr:
    """Fail unless a secret is an address; its path may be what is secret, so it is not shown."""
    try:
        TypeAdapter(HttpUrl).validate_python(secret.get_secret_value())
    except ValidationError:
        raise PydanticCustomError(
            "address", "it needs a whole address that begins with http:// or https://"
        ) from None
    return secret


class Settings(BaseSettings):
    """What a command or a worker was told. The environment's names are these in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: str | None = None
    redis_url: Annotated[str, Field(pattern="^(redis|rediss|unix)://")] | None = None
    mlflow_tracking_uri: str | None = None
    redis_max_connections: Annotated[int, Field(ge=REDIS_SHARES, le=10_000)] = 100

    user_rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    bondhu_jwt_secret: SecretStr | None = None
    supabase_url: Annotated[str, Field(pattern="^https?://")] | None = None
    supabase_key: SecretStr | None = None

    spotify_client_id: str | None = None
    spotify_client_secret: SecretStr | None = None
    spotify_redirect_uri: Annotated[str, Field(pattern="^https?://")] = (
        "http://127.0.0.1:3000/spotify/callback"
    )
    spotify_rpm: Annotated[int, Field(ge=1, le=100_000)] = 100
    spotify_api_url: Annotated[str, Field(pattern="^https?://")] = "https://api.spotify.com"
    spotify_accounts_url: Annotated[str, Field(pattern="^https?://")] = (
        "https://accounts.spotify.com"
    )
    bondhu_token_key: SecretStr | None = None

    bondhu_data: Path | None = None
    bondhu_home: Path = ROOT / ".bondhu"
    bondhu_journal: bool = True
    bondhu_exploration: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    bondhu_policy: Literal["greedy", "epsilon", "ucb", "thompson"] = "thompson"
    bondhu_candidates_max: Annotated[int, Field(ge=100, le=5_000)] = 500
    bondhu_exclude_heard: bool = True
    bondhu_exclude_shown: bool = False
    bondhu_retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    bondhu_min_entropy: Annotated[float, Field(ge=0.0, le=5.64)] = 0.0

    bondhu_challenger_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    bondhu_shadow_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    bondhu_sample_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01

    bondhu_webhook_url: Annotated[SecretStr, AfterValidator(_check_address)] | None = None
    bondhu_precompute_days: Annotated[int, Field(ge=0, le=365)] = 7
    bondhu_dask: (
        Annotated[str, Field(pattern=r"^([1-9]\d{0,2}|(tcp|tls)://[^\s/]+:\d{1,5})$")] | None
    ) = None
    bondhu_scorer_nights: Annotated[int, Field(ge=1, le=365)] = 1
    bondhu_catch_up_nights: Annotated[int, Field(ge=0, le=365)] = 7
    bondhu_watch_least_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    bondhu_watch_psi: Annotated[float, Field(ge=0.0, le=100.0)] = 0.25
    bondhu_watch_silent: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    bondhu_watch_top_track: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    bondhu_watch_volume: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    bondhu_watch_untrainable: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    bondhu_watch_cached_ms: Annotated[float, Field(ge=0.0, le=100_000.0)] = TARGETS["cached"].limit
    bondhu_watch_initial_ms: Annotated[float, Field(ge=0.0, le=100_000.0)] = TARGETS[
        "initial"
    ].limit
    bondhu_watch_queries_ms: Annotated[float, Field(ge=0.0, le=100_000.0)] = TARGETS[
        "queries"
    ].limit
    bondhu_watch_cache_hits: Annotated[float, Field(ge=0.0, le=1.0)] = TARGETS["cache_hits"].limit
    bondhu_watch_long_plays: Annotated[float, Field(ge=0.0, le=1.0)] = TARGETS["long_plays"].limit
    bondhu_watch_new_artists: Annotated[float, Field(ge=0.0, le=10_000.0)] = TARGETS[
        "new_artists"
    ].limit
    bondhu_watch_entropy: Annotated[float, Field(ge=0.0, le=20.0)] = TARGETS["entropy_bits"].limit
    bondhu_watch_uptime: Annotated[float, Field(ge=0.0, le=1.0)] = TARGETS["uptime"].limit

    bondhu_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otel_exporter_otlp_endpoint: Annotated[str, Field(pattern="^https?://")] | None = None

    @property
    def home(self) -> Path:
        """BONDHU_HOME as an absolute path."""
        return self.bondhu_home.expanduser().absolute()

    def redis_share(self, workers: int) -> int:
        """Return how many connections to a database of Redis each worker of a service may open.

        Raises
        ------
        SettingsError
            REDIS_MAX_CONNECTIONS is too little for so many workers.

        Examples
        --------
        >>> Settings(redis_max_connections=100).redis_share(4)
        4
        """
        share = self.redis_max_connections // (REDIS_SHARES * workers)
        if share == 0:
            raise SettingsError(
                f"REDIS_MAX_CONNECTIONS is {self.redis_max_connections}, too little for {workers}"
                f" workers: each needs {REDIS_SHARES}"
            )
        return share


def read_settings() -> Settings:
    """Read the environment.

    Raises
    ------
    SettingsError
        Names the first wrong setting and what it should be; a secret's value is never shown.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "a setting"
        raise SettingsError(f"{name} is wrong: {first['msg']}") from None
    secret = settings.bondhu_jwt_secret
    if secret is not None and len(secret.get_secret_value().encode()) < 32:
        raise SettingsError("BONDHU_JWT_SECRET is wrong: it needs at least 32 bytes for HS256")
    if settings.bondhu_token_key is not None:
        _check_keys(settings.bondhu_token_key)
    return settings


def _check_keys(keys: SecretStr) -> None:
    for key in keys.get_secret_value().split(","):
        try:
            Fernet(key.strip())
        except ValueError:
            raise SettingsError(
                "BONDHU_TOKEN_KEY is wrong: it needs one Fernet key, or several separated by"
                " commas, the newest first (32 random bytes each, in URL-safe base64)"
            ) from None
