-- What Bondhu may ask Spotify for on behalf of a listener. The tokens are encrypted with
-- BONDHU_TOKEN_KEY: nobody reads them from here, or from a backup, without it.
CREATE TABLE spotify_grants (
    user_id      text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    token        bytea NOT NULL,   -- Fernet of the access token, the refresh token and the expiry
    scope        text NOT NULL,
    state        text NOT NULL CHECK (state IN ('active', 'needs_reauth')),
    granted_at   timestamptz NOT NULL,
    refreshed_at timestamptz NOT NULL,   -- when Spotify last handed out an access token
    history_at   timestamptz             -- when the history was last refreshed; null: never yet
);

-- How an outside source stands, per endpoint: shared by all processes, and what the doctor reads.
CREATE TABLE source_standing (
    source          text NOT NULL,
    endpoint        text NOT NULL,
    closed_until    timestamptz,   -- 403 or 404 on a closed endpoint: not asked again before
    limited_until   timestamptz,   -- 429 with a long Retry-After: not asked again before
    last_success_at timestamptz,
    last_error_at   timestamptz,
    last_error      text,          -- one line, without tokens
    PRIMARY KEY (source, endpoint)
);

-- Work that a limit or an outage put off, to be taken up from this time on.
CREATE TABLE postponed_work (
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    kind       text NOT NULL,
    not_before timestamptz NOT NULL,
    reason     text NOT NULL,
    attempts   integer NOT NULL DEFAULT 1,
    PRIMARY KEY (user_id, kind)
);
CREATE INDEX postponed_work_not_before ON postponed_work (not_before);

-- An estimate by the model audio_estimator: shown and ranked with, never learned from as the truth.
ALTER TABLE audio_features
    ADD COLUMN estimated boolean NOT NULL GENERATED ALWAYS AS (source = 'audio_estimator') STORED,
    ADD CONSTRAINT audio_features_estimates_are_no_truth
        CHECK (NOT (source = 'audio_estimator' AND trainable));
