-- Backends with role = service that called in a listener's name.
CREATE TABLE acting_audit (
    actor    text NOT NULL,        -- subject of the backend's token
    user_id  text NOT NULL,        -- no reference: a call may come before its listener exists
    call     text NOT NULL,        -- route template
    day      date NOT NULL,        -- UTC
    calls    integer NOT NULL CHECK (calls > 0),
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (actor, user_id, call, day)
);
CREATE INDEX acting_audit_user_id ON acting_audit (user_id);

-- Receipts of deletions. The listener is not in them: who holds a receipt can look it up.
CREATE TABLE deletions (
    receipt_id uuid PRIMARY KEY,
    deleted_at timestamptz NOT NULL,
    requested_by text NOT NULL CHECK (requested_by IN ('listener', 'backend', 'operator')),
    deleted    jsonb NOT NULL,     -- store -> what -> count
    from_seq   bigint              -- the first of the removed events, null where there was none
);
CREATE INDEX deletions_deleted_at ON deletions (deleted_at);

-- What the challenger would have shown, never shown.
CREATE TABLE shadow_lists (
    recommendation_id uuid PRIMARY KEY, -- of the list that was shown instead
    user_id           text NOT NULL REFERENCES users ON DELETE CASCADE,
    model_versions    jsonb NOT NULL,
    track_ids         text[] NOT NULL,  -- best first
    scores            double precision[] NOT NULL,
    overlap_at_10     double precision NOT NULL CHECK (overlap_at_10 BETWEEN 0 AND 1),
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX shadow_lists_user_id ON shadow_lists (user_id);
CREATE INDEX shadow_lists_created_at ON shadow_lists (created_at);

-- Which side of an experiment a list was made for; null: there was none.
ALTER TABLE music_recommendations ADD COLUMN arm text CHECK (arm IN ('champion', 'challenger'));
