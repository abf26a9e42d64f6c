-- Lists made ahead of a call, by a night or before a swap, have ids of version 5 (those that a call was
-- made for: version 4) and count one serving until somebody gets them. No row of the cache is passed:
-- Postgres would put its large documents together for each.
CREATE FUNCTION was_never_shown(list uuid, listener text, servings integer) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT was_never_shown.servings = 1 AND substr(list::text, 15, 1) = '5'
           AND NOT EXISTS (SELECT FROM music_interactions i
                           WHERE i.user_id = listener AND i.recommendation_id = list)
$$;

-- What nobody was shown is no impression: its places go with the list, whoever cleans.
CREATE FUNCTION forget_expired_lists(OUT lists bigint, OUT impressions bigint)
LANGUAGE sql AS $$
    -- Lists that feedback outdated stay until they expire: when they were served is still asked for.
    WITH gone AS (
        DELETE FROM recommendations_cache c WHERE expires_at <= now()
        RETURNING recommendation_id,
                  was_never_shown(c.recommendation_id, c.user_id, c.servings) AS never_shown
    ), places AS (
        DELETE FROM music_recommendations m USING gone
        WHERE m.recommendation_id = gone.recommendation_id AND gone.never_shown RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM places)
$$;

CREATE OR REPLACE FUNCTION clean_expired_recommendations() RETURNS bigint LANGUAGE sql AS $$
    SELECT lists FROM forget_expired_lists()
$$;
