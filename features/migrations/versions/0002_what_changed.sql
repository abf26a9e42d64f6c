-- What the next feature build has to look at: written by the transaction that changed a table, so
-- that it becomes visible with the change, whatever the order of commits or the dates of the rows.
CREATE TABLE feature_changes (
    kind       text NOT NULL CHECK (kind IN
        ('added', 'plays', 'listener', 'tracks', 'audio', 'undated', 'counts', 'ranks', 'build')),
    user_id    text, -- of added, plays, listener and undated
    track_id   text, -- of added, plays, tracks and audio; with neither, every row is meant
    isrc       text,
    artist_key text,
    title_key  text,
    n          integer,    -- of added: how many plays,
    ms         bigint,     -- how long they were in all,
    played_at  timestamptz -- and the latest of them
);
CREATE INDEX feature_changes_pair ON feature_changes (user_id, track_id) WHERE kind = 'added';

-- The plays of a row that listener_genres and track_listeners hold.
ALTER TABLE listening_history ADD COLUMN counted integer NOT NULL DEFAULT 0;
-- Every row of it is made from rows of plays, which has this key; checking twice doubles a build's time.
ALTER TABLE listening_history DROP CONSTRAINT listening_history_track_id_fkey;
-- A listener's plays stand in the order of time: as they arrive, so that the key of a large load needs
-- little sorting, and as they are asked for as of a moment. One index less.
ALTER TABLE plays DROP CONSTRAINT plays_pkey, ADD PRIMARY KEY (user_id, played_at, track_id);
DROP INDEX plays_user_played_at;
-- A row that is updated stays on its page, and no index hears of it: none but a summary of ranges
-- holds what changes, and a page keeps room.
DROP INDEX listening_history_played_at;
CREATE INDEX listening_history_played_at ON listening_history USING brin (played_at);
ALTER TABLE listening_history SET (fillfactor = 90);

CREATE INDEX tracks_isrc ON tracks (isrc) WHERE isrc IS NOT NULL;

-- How a listener's plays spread over the listener categories; tracks without one count as other.
CREATE TABLE listener_genres (
    user_id       text NOT NULL REFERENCES users ON DELETE CASCADE,
    category      text NOT NULL,
    plays         bigint NOT NULL DEFAULT 0, -- of plays, by the track's category
    undated_plays bigint NOT NULL DEFAULT 0, -- of artist_plays, by the artist's category
    PRIMARY KEY (user_id, category)
) WITH (fillfactor = 80);

CREATE TABLE track_listeners (
    track_id  text PRIMARY KEY,
    listeners integer NOT NULL, -- rows of listening_history
    plays     bigint NOT NULL
) WITH (fillfactor = 80);

-- The fallback for whoever is not known yet: the first 200 of each category, and of all of them.
CREATE TABLE popular_tracks (
    category   text NOT NULL, -- 'all', a listener category, or 'other'
    rank       smallint NOT NULL CHECK (rank BETWEEN 1 AND 200),
    track_id   text NOT NULL REFERENCES tracks ON DELETE CASCADE,
    popularity smallint,
    listeners  integer NOT NULL,
    PRIMARY KEY (category, rank)
);

CREATE FUNCTION note_plays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind, user_id, track_id)
    SELECT DISTINCT 'plays', user_id, track_id FROM changed;
    RETURN NULL;
END $$;
-- What is only added is said as a sum: the build need not read the plays again.
CREATE FUNCTION note_added_plays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind, user_id, track_id, n, ms, played_at)
    SELECT 'added', user_id, track_id, count(*), sum(ms_played), max(played_at)
    FROM changed GROUP BY user_id, track_id;
    RETURN NULL;
END $$;
CREATE TRIGGER plays_added AFTER INSERT ON plays REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_added_plays();
CREATE TRIGGER plays_gone AFTER DELETE ON plays REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_plays();
CREATE TRIGGER plays_before AFTER UPDATE ON plays REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_plays();
CREATE TRIGGER plays_after AFTER UPDATE ON plays REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_plays();

CREATE FUNCTION note_tracks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind, track_id, isrc, artist_key, title_key)
    SELECT 'tracks', track_id, isrc, artist_key, title_key FROM changed;
    RETURN NULL;
END $$;
CREATE TRIGGER tracks_added AFTER INSERT ON tracks REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_tracks();
CREATE TRIGGER tracks_gone AFTER DELETE ON tracks REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_tracks();

-- All but canonical_id, which the build itself writes. Rows meet by a hash: there may be a million.
CREATE FUNCTION note_updated_tracks() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off SET enable_mergejoin = off AS $$
BEGIN
    WITH moved AS (
        SELECT b.track_id, b.isrc, b.artist_key, b.title_key, a.isrc AS new_isrc,
               a.artist_key AS new_artist_key, a.title_key AS new_title_key,
               a.category IS DISTINCT FROM b.category AS is_of_another_category
        FROM before b JOIN after a USING (track_id)
        WHERE to_jsonb(a) - 'canonical_id' <> to_jsonb(b) - 'canonical_id'
    ), old AS (
        INSERT INTO feature_changes (kind, track_id, isrc, artist_key, title_key)
        SELECT 'tracks', track_id, isrc, artist_key, title_key FROM moved
    ), new AS (
        INSERT INTO feature_changes (kind, track_id, isrc, artist_key, title_key)
        SELECT 'tracks', track_id, new_isrc, new_artist_key, new_title_key FROM moved
        WHERE (isrc, artist_key, title_key) IS DISTINCT FROM (new_isrc, new_artist_key, new_title_key)
    )
    INSERT INTO feature_changes (kind)
    SELECT 'counts' WHERE EXISTS (SELECT FROM moved WHERE is_of_another_category);
    RETURN NULL;
END $$;
CREATE TRIGGER tracks_updated AFTER UPDATE ON tracks REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT WHEN (current_setting('bondhu.only_canonical', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_updated_tracks();

CREATE FUNCTION note_audio() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The artist of a track that is deleted with its audio is noted by the track.
    INSERT INTO feature_changes (kind, track_id, artist_key)
    SELECT 'audio', track_id, t.artist_key FROM changed JOIN tracks t USING (track_id);
    RETURN NULL;
END $$;
CREATE TRIGGER audio_added AFTER INSERT ON audio_features REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_audio();
CREATE TRIGGER audio_gone AFTER DELETE ON audio_features REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_audio();
CREATE TRIGGER audio_after AFTER UPDATE ON audio_features REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_audio();

CREATE FUNCTION note_undated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind, user_id) SELECT DISTINCT 'undated', user_id FROM changed;
    RETURN NULL;
END $$;
CREATE TRIGGER artist_plays_added AFTER INSERT ON artist_plays REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_undated();
CREATE TRIGGER artist_plays_gone AFTER DELETE ON artist_plays REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_undated();
CREATE TRIGGER artist_plays_after AFTER UPDATE ON artist_plays REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_undated();

CREATE FUNCTION note_artists() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind, user_id)
    SELECT DISTINCT 'undated', p.user_id FROM changed JOIN artist_plays p USING (artist_key);
    RETURN NULL;
END $$;
CREATE TRIGGER artists_added AFTER INSERT ON artist_audio_features REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_artists();
CREATE TRIGGER artists_gone AFTER DELETE ON artist_audio_features REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_artists();
CREATE TRIGGER artists_after AFTER UPDATE ON artist_audio_features REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_artists();

-- What was counted cannot be subtracted any more once its row is gone: count again.
CREATE FUNCTION note_lost_counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind)
    SELECT 'counts' WHERE EXISTS (SELECT FROM changed WHERE counted > 0);
    RETURN NULL;
END $$;
CREATE TRIGGER listening_history_gone AFTER DELETE ON listening_history
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_lost_counts();

CREATE FUNCTION note_everything() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_changes (kind) SELECT unnest(ARRAY['plays', 'tracks', 'undated', 'counts']);
    RETURN NULL;
END $$;
CREATE TRIGGER plays_emptied AFTER TRUNCATE ON plays
    FOR EACH STATEMENT EXECUTE FUNCTION note_everything();
INSERT INTO feature_changes (kind) SELECT unnest(ARRAY['plays', 'tracks', 'undated', 'counts']);

-- Whoever else writes a row of history took it from plays, and it may hold what is noted as added: the
-- build reads those plays again instead of adding them a second time. (Builds write with this off.)
CREATE FUNCTION note_written_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM feature_changes c USING changed w
    WHERE c.kind = 'added' AND c.user_id = w.user_id AND c.track_id = w.track_id;
    INSERT INTO feature_changes (kind, user_id, track_id) SELECT 'plays', user_id, track_id FROM changed;
    RETURN NULL;
END $$;
CREATE TRIGGER listening_history_added AFTER INSERT ON listening_history
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('bondhu.is_build', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_written_history();
CREATE TRIGGER listening_history_updated AFTER UPDATE ON listening_history
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('bondhu.is_build', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_written_history();

-- The same list as before, faster: its plan is made once per connection, weights are in double
-- precision all the way, and only the 50 are looked up.
CREATE OR REPLACE FUNCTION get_user_top_50_tracks(user_id text)
RETURNS TABLE (
    track_id text, track_name text, artist_name text, artist_key text, genres text[], category text,
    play_count integer, total_listen_time_ms bigint, played_at timestamptz, weight double precision,
    danceability real, energy real, valence real, tempo real, acousticness real,
    instrumentalness real, speechiness real
) LANGUAGE plpgsql STABLE ROWS 50 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT h.track_id, h.track_name, h.artist_name, t.artist_key, t.genres, t.category,
           h.play_count, h.total_listen_time_ms, h.played_at, h.weight,
           a.danceability, a.energy, a.valence, a.tempo, a.acousticness, a.instrumentalness, a.speechiness
    FROM (
        SELECT l.*, ln(1 + l.play_count::double precision) * power(2::double precision,
                   -greatest(0, date_part('epoch', now() - l.played_at) / 86400) / 90) AS weight
        FROM listening_history l
        WHERE l.user_id = $1
        ORDER BY weight DESC, l.track_id LIMIT 50
    ) h
    JOIN tracks t ON t.track_id = h.track_id
    LEFT JOIN audio_features a ON a.track_id = h.track_id
    ORDER BY h.weight DESC, h.track_id;
END $$;

CREATE FUNCTION get_user_genre_distribution(user_id text)
RETURNS TABLE (category text, plays bigint, share double precision) LANGUAGE sql STABLE AS $$
    SELECT g.category, g.plays + g.undated_plays AS plays,
           (g.plays + g.undated_plays) / sum(g.plays + g.undated_plays) OVER ()::double precision
    FROM listener_genres g WHERE g.user_id = get_user_genre_distribution.user_id
    ORDER BY plays DESC, g.category
$$;

CREATE FUNCTION get_popular_tracks(category text DEFAULT 'all', max_results integer DEFAULT 50)
RETURNS TABLE (rank smallint, track_id text, popularity smallint, listeners integer)
LANGUAGE sql STABLE AS $$
    SELECT p.rank, p.track_id, p.popularity, p.listeners FROM popular_tracks p
    WHERE p.category = get_popular_tracks.category AND p.rank <= max_results ORDER BY p.rank
$$;
