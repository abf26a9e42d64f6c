-- Component vectors as the service judged them, of a small share of lists: what training recomputes
-- as of the same moment, to see whether both mean the same by a component.
CREATE TABLE component_samples (
    recommendation_id uuid PRIMARY KEY,
    user_id           text NOT NULL REFERENCES users ON DELETE CASCADE,
    moment            timestamptz NOT NULL, -- when the list was computed
    build_id          bigint NOT NULL,      -- the feature build that its catalogue was read at
    model_versions    jsonb NOT NULL,
    track_ids         text[] NOT NULL,      -- in the order of the list
    components        jsonb NOT NULL,       -- component -> values, in the order of track_ids
    -- Rows of plays, artist_plays and verdicts that were known at the moment: more of them today
    -- came late, and the moment cannot be gone back to.
    known             bigint[] NOT NULL
);
CREATE INDEX component_samples_user_id ON component_samples (user_id);
CREATE INDEX component_samples_moment ON component_samples (moment);

-- Consolidation sums the whole log at every run: nothing has to go back to a number of an event. The
-- release before still writes the column.
COMMENT ON COLUMN deletions.from_seq IS 'unused; the next release drops it';
