-- One row per night: what `bondhu nightly` did for that date.
CREATE TABLE nights (
    night       date PRIMARY KEY,
    as_of       timestamptz NOT NULL, -- what came in before this moment is what the night knows
    status      text NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    holder      text NOT NULL,        -- who ran it last: host and process
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    exit_code   smallint CHECK (exit_code IN (0, 10, 20, 30)),
    outcome     jsonb NOT NULL DEFAULT '{}', -- alarms, what was promoted, what was declined
    report_path text,
    run_id      text                  -- of the run that keeps the report
);

-- A step that is done for its night is not done again.
CREATE TABLE night_steps (
    night      date NOT NULL REFERENCES nights ON DELETE CASCADE,
    step       text NOT NULL,
    status     text NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    attempts   integer NOT NULL CHECK (attempts > 0),
    started_at timestamptz NOT NULL,
    seconds    double precision CHECK (seconds >= 0),
    outcome    jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (night, step)
);

-- The service as a prober saw it every 30 s.
CREATE TABLE probes (
    address      text NOT NULL,
    at           timestamptz NOT NULL,
    ok           boolean NOT NULL,
    milliseconds double precision NOT NULL CHECK (milliseconds >= 0),
    histograms   jsonb NOT NULL DEFAULT '{}', -- name -> upper end in seconds -> count since its start
    PRIMARY KEY (address, at)
);
