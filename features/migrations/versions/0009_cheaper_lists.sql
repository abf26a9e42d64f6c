-- pglz takes a quarter of what storing a list costs. Not every PostgreSQL is built with lz4.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_settings
               WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)) THEN
        ALTER TABLE recommendations_cache ALTER recommended_tracks_json SET COMPRESSION lz4;
    END IF;
END $$;
