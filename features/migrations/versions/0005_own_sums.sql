-- A snapshot also keeps the weights of the pooled rule: state -> [number of verdicts, their sum].
-- Null in rows of the release before: then counted from the log.
ALTER TABLE music_rl_models ADD COLUMN own_sums jsonb;
