-- Who listens.
CREATE TABLE users (
    user_id     text PRIMARY KEY CHECK (length(user_id) BETWEEN 1 AND 128),
    created_at  timestamptz NOT NULL DEFAULT now(), -- first authenticated call or import
    source      text NOT NULL,
    simulated   boolean NOT NULL DEFAULT false,
    revision    bigint NOT NULL DEFAULT 0,          -- rises when what lists are made from changes
    revised_at  timestamptz                         -- null until it first rose
);
CREATE INDEX users_revised_at ON users (revised_at);

-- What can be heard. What a source lacks is null, never a default.
CREATE TABLE tracks (
    track_id     text PRIMARY KEY CHECK (length(track_id) BETWEEN 1 AND 128),
    isrc         text,
    track_name   text NOT NULL,
    artist_name  text NOT NULL,
    artist_key   text NOT NULL,            -- NFKD, lower case, letters and digits only: joins sources
    album_name   text,
    release_date date,
    duration_ms  integer CHECK (duration_ms > 0),
    explicit     boolean,
    popularity   smallint CHECK (popularity BETWEEN 0 AND 100),
    genres       text[] NOT NULL DEFAULT '{}', -- normalised raw genres, most specific first
    category     text,                     -- listener category, a slug of recommender.genres; null: none
    title_key    text,                     -- as artist_key; null: this track is its own recording
    canonical_id text,                     -- the one track of its recording that lists name; null: itself
    source       text NOT NULL,
    trainable    boolean NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tracks_artist_key ON tracks (artist_key, title_key);

CREATE TABLE audio_features (
    track_id         text PRIMARY KEY REFERENCES tracks ON DELETE CASCADE,
    danceability     real CHECK (danceability BETWEEN 0 AND 1),
    energy           real CHECK (energy BETWEEN 0 AND 1),
    valence          real CHECK (valence BETWEEN 0 AND 1),
    tempo            real CHECK (tempo > 0),        -- BPM; 0 in a source means unknown: null here
    acousticness     real CHECK (acousticness BETWEEN 0 AND 1),
    instrumentalness real CHECK (instrumentalness BETWEEN 0 AND 1),
    speechiness      real CHECK (speechiness BETWEEN 0 AND 1),
    loudness         real CHECK (loudness BETWEEN -60 AND 10), -- dB
    liveness         real CHECK (liveness BETWEEN 0 AND 1),
    key              smallint CHECK (key BETWEEN 0 AND 11),
    mode             smallint CHECK (mode IN (0, 1)),
    source           text NOT NULL,
    trainable        boolean NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);

-- Means over an artist's tracks: how a listener's counts per artist become an audio profile.
CREATE TABLE artist_audio_features (
    artist_key       text PRIMARY KEY,
    artist_name      text NOT NULL,
    danceability     real, energy real, valence real, tempo real,
    acousticness     real, instrumentalness real, speechiness real,
    popularity       real CHECK (popularity BETWEEN 0 AND 100),
    category         text,
    track_count      integer NOT NULL CHECK (track_count > 0),
    source           text NOT NULL, -- 'tracks': means of this catalogue's own tracks
    trainable        boolean NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);

-- What was heard. plays is the truth; listening_history its aggregate; artist_plays counts without dates.
CREATE TABLE plays (
    user_id   text NOT NULL REFERENCES users ON DELETE CASCADE,
    track_id  text NOT NULL REFERENCES tracks,
    played_at timestamptz NOT NULL,              -- the start
    ms_played integer NOT NULL CHECK (ms_played >= 0),
    source    text NOT NULL,
    trainable boolean NOT NULL,
    PRIMARY KEY (user_id, track_id, played_at)
);
CREATE INDEX plays_user_played_at ON plays (user_id, played_at);

CREATE TABLE artist_plays (
    user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
    artist_name text NOT NULL,
    artist_key  text NOT NULL,
    play_count  bigint NOT NULL CHECK (play_count > 0),
    source      text NOT NULL,
    trainable   boolean NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(), -- undated counts are known from here on
    PRIMARY KEY (user_id, artist_key, source)
);
CREATE INDEX artist_plays_artist_key ON artist_plays (artist_key);

CREATE TABLE listening_history (
    user_id              text NOT NULL REFERENCES users ON DELETE CASCADE,
    track_id             text NOT NULL REFERENCES tracks,
    track_name           text NOT NULL,
    artist_name          text NOT NULL,
    played_at            timestamptz NOT NULL, -- the latest play
    play_count           integer NOT NULL CHECK (play_count > 0),
    total_listen_time_ms bigint NOT NULL CHECK (total_listen_time_ms >= 0),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, track_id)
);
CREATE INDEX listening_history_user_id ON listening_history (user_id);
CREATE INDEX listening_history_played_at ON listening_history (played_at);
CREATE INDEX listening_history_track_id ON listening_history (track_id);

-- Who they are. Several assessments may stand; one is active.
CREATE TABLE personality_scores (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id               text NOT NULL REFERENCES users ON DELETE CASCADE,
    openness              real CHECK (openness BETWEEN 0 AND 100),
    conscientiousness     real CHECK (conscientiousness BETWEEN 0 AND 100),
    extraversion          real CHECK (extraversion BETWEEN 0 AND 100),
    agreeableness         real CHECK (agreeableness BETWEEN 0 AND 100),
    neuroticism           real CHECK (neuroticism BETWEEN 0 AND 100),
    assessment_confidence real NOT NULL CHECK (assessment_confidence BETWEEN 0 AND 1),
    trait_confidence      jsonb NOT NULL DEFAULT '{}',
    assessment_method     text NOT NULL,
    assessment_date       timestamptz NOT NULL DEFAULT now(),
    total_questions       integer NOT NULL DEFAULT 0,
    raw_responses         jsonb,
    is_active             boolean NOT NULL DEFAULT true
);
CREATE INDEX personality_scores_user_id ON personality_scores (user_id);
CREATE INDEX personality_scores_is_active ON personality_scores (is_active);
CREATE INDEX personality_scores_assessment_date ON personality_scores (assessment_date);
CREATE UNIQUE INDEX personality_scores_one_active ON personality_scores (user_id) WHERE is_active;

CREATE TABLE personality_features (
    user_id       text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    assessment_id bigint NOT NULL REFERENCES personality_scores ON DELETE CASCADE,
    traits        jsonb NOT NULL, -- trait -> [0,1]
    ideals        jsonb NOT NULL, -- trait -> feature -> [0,1], mirrored for a trait under .5
    weights       jsonb NOT NULL, -- trait -> 2 |trait - .5|
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- What was shown, what was said of it, what was learned.
CREATE TABLE recommendations_cache (
    recommendation_id       uuid PRIMARY KEY,
    user_id                 text NOT NULL REFERENCES users ON DELETE CASCADE,
    cache_key               text NOT NULL,  -- genre, context, feature build and model versions
    recommended_tracks_json jsonb NOT NULL, -- the selected list and its reserves
    scores_json             jsonb NOT NULL, -- mean of each component over the list
    metadata_json           jsonb NOT NULL,
    recommendation_type     text NOT NULL,
    total_candidates        integer NOT NULL,
    final_count             integer NOT NULL,
    generated_at            timestamptz NOT NULL DEFAULT now(),
    expires_at              timestamptz NOT NULL,
    user_account_age_days   integer NOT NULL,
    personality_snapshot    jsonb NOT NULL,
    is_valid                boolean NOT NULL DEFAULT true,
    servings                integer NOT NULL DEFAULT 1,
    last_served_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX recommendations_cache_user_id ON recommendations_cache (user_id);
CREATE INDEX recommendations_cache_expires_at ON recommendations_cache (expires_at);
CREATE INDEX recommendations_cache_is_valid ON recommendations_cache (is_valid);

CREATE TABLE music_recommendations (
    recommendation_id uuid NOT NULL,
    user_id           text NOT NULL REFERENCES users ON DELETE CASCADE,
    position          smallint NOT NULL CHECK (position >= 1),
    track_id          text NOT NULL REFERENCES tracks,
    score             double precision NOT NULL,
    components        jsonb NOT NULL,
    rl_adjustment     double precision NOT NULL CHECK (rl_adjustment BETWEEN -0.05 AND 0.05),
    propensity        double precision NOT NULL CHECK (propensity > 0 AND propensity <= 1),
    policy            text NOT NULL,
    model_versions    jsonb NOT NULL,
    state             text NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (recommendation_id, position)
);
CREATE INDEX music_recommendations_user_created ON music_recommendations (user_id, created_at);

CREATE TABLE music_interactions (
    seq                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id           uuid NOT NULL,
    user_id            text NOT NULL REFERENCES users ON DELETE CASCADE,
    episode            integer NOT NULL CHECK (episode >= 1), -- 1, 2, 3 ... per listener, without gaps
    track_id           text NOT NULL REFERENCES tracks,
    feedback_type      text NOT NULL CHECK (feedback_type IN
        ('like', 'save', 'add_to_playlist', 'play', 'repeat', 'share', 'dislike', 'skip')),
    reward             double precision NOT NULL CHECK (reward BETWEEN -1.5 AND 2.2),
    state              text NOT NULL,
    q_value            double precision, -- Q(state, recommend) right after; null where it was imported
    recommendation_id  uuid,
    position           smallint CHECK (position >= 1),
    listen_duration_ms integer CHECK (listen_duration_ms >= 0),
    track_duration_ms  integer CHECK (track_duration_ms > 0),
    context            text,
    occurred_at        timestamptz NOT NULL,
    received_at        timestamptz NOT NULL DEFAULT now(),
    source             text NOT NULL,
    trainable          boolean NOT NULL,
    UNIQUE (user_id, event_id),
    UNIQUE (user_id, episode)
);
CREATE INDEX music_interactions_user_track ON music_interactions (user_id, track_id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'music_interactions is append-only: add a new event instead of changing one';
END $$;
CREATE TRIGGER music_interactions_append_only BEFORE UPDATE ON music_interactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE music_rl_models (
    user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
    version     integer NOT NULL,
    through_seq bigint NOT NULL,
    episodes    integer NOT NULL,
    q_table     jsonb NOT NULL, -- state -> Q(state, recommend); the other action stays 0
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, version)
);

CREATE TABLE music_genre_preferences (
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    genre      text NOT NULL,              -- listener category
    preference double precision NOT NULL,  -- mean reward of n judged tracks
    n          integer NOT NULL CHECK (n > 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, genre)
);

-- Where rows came from.
CREATE TABLE imports (
    import_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,
    sha256      text NOT NULL, -- of the input's content
    read        bigint NOT NULL,
    stored      bigint NOT NULL,
    skipped     jsonb NOT NULL, -- reason -> count
    imported_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    import_id     bigint NOT NULL REFERENCES imports ON DELETE CASCADE,
    reason        text NOT NULL,
    entry         jsonb NOT NULL
);
CREATE INDEX quarantine_import_id ON quarantine (import_id);

CREATE TABLE feature_builds (
    build_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    built_at  timestamptz NOT NULL DEFAULT now(),
    tracks    bigint NOT NULL,
    artists   bigint NOT NULL,
    listeners bigint NOT NULL
);

-- The 50 tracks that say most about a listener now: ln(1 + plays), halved for every 90 days since the
-- latest play (recommender.history.play_weight is the same formula; a test holds them together).
CREATE FUNCTION get_user_top_50_tracks(user_id text)
RETURNS TABLE (
    track_id text, track_name text, artist_name text, artist_key text, genres text[], category text,
    play_count integer, total_listen_time_ms bigint, played_at timestamptz, weight double precision,
    danceability real, energy real, valence real, tempo real, acousticness real,
    instrumentalness real, speechiness real
) LANGUAGE sql STABLE AS $$
    SELECT h.track_id, h.track_name, h.artist_name, t.artist_key, t.genres, t.category,
           h.play_count, h.total_listen_time_ms, h.played_at,
           ln(1 + h.play_count::double precision)
               * power(2, -greatest(0, extract(epoch FROM now() - h.played_at) / 86400) / 90)::double precision
               AS weight,
           a.danceability, a.energy, a.valence, a.tempo, a.acousticness, a.instrumentalness, a.speechiness
    FROM listening_history h
    JOIN tracks t ON t.track_id = h.track_id
    LEFT JOIN audio_features a ON a.track_id = h.track_id
    WHERE h.user_id = get_user_top_50_tracks.user_id
    ORDER BY weight DESC, h.track_id
    LIMIT 50
$$;

CREATE FUNCTION get_active_personality_profile(user_id text)
RETURNS TABLE (
    openness real, conscientiousness real, extraversion real, agreeableness real, neuroticism real,
    assessment_confidence real, trait_confidence jsonb, assessment_method text, assessment_date timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT p.openness, p.conscientiousness, p.extraversion, p.agreeableness, p.neuroticism,
           p.assessment_confidence, p.trait_confidence, p.assessment_method, p.assessment_date
    FROM personality_scores p
    WHERE p.user_id = get_active_personality_profile.user_id AND p.is_active
$$;

-- Inserts the play unless it is known (the same start, or another source's within 60 s), then takes the
-- aggregate anew from plays: called twice, it changes nothing. Returns whether the play was new.
-- Only what came from files that training may use is trainable; what the Web API said never is.
CREATE FUNCTION upsert_listening_history(
    user_id text, track_id text, played_at timestamptz, ms_played integer, source text
) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    is_new boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 0));
    INSERT INTO plays (user_id, track_id, played_at, ms_played, source, trainable)
    SELECT $1, $2, $3, $4, $5, $5 IN ('lastfm', 'listenbrainz', 'interactions', 'simulated')
    WHERE NOT EXISTS (
        SELECT FROM plays p
        WHERE p.user_id = $1 AND p.track_id = $2 AND p.source <> $5
          AND p.played_at BETWEEN $3 - interval '60 seconds' AND $3 + interval '60 seconds')
    ON CONFLICT DO NOTHING;
    is_new := FOUND;
    INSERT INTO listening_history
        (user_id, track_id, track_name, artist_name, played_at, play_count, total_listen_time_ms)
    SELECT $1, $2, t.track_name, t.artist_name, max(p.played_at), count(*), sum(p.ms_played)
    FROM plays p JOIN tracks t ON t.track_id = p.track_id
    WHERE p.user_id = $1 AND p.track_id = $2
    GROUP BY t.track_name, t.artist_name
    ON CONFLICT (user_id, track_id) DO UPDATE SET
        track_name = excluded.track_name, artist_name = excluded.artist_name,
        played_at = excluded.played_at, play_count = excluded.play_count,
        total_listen_time_ms = excluded.total_listen_time_ms, updated_at = now();
    RETURN is_new;
END $$;

CREATE FUNCTION clean_expired_recommendations() RETURNS bigint LANGUAGE sql AS $$
    -- Lists that feedback outdated stay until they expire: when they were served is still asked for.
    WITH gone AS (DELETE FROM recommendations_cache WHERE expires_at <= now() RETURNING 1)
    SELECT count(*) FROM gone
$$;
