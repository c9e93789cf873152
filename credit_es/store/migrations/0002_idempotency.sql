-- The first answer to a request with an Idempotency-Key, kept in the transaction of its events.
CREATE TABLE __S__.idempotency_keys (
    actor text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    outcome bytea NOT NULL,
    kept_at timestamptz NOT NULL,
    PRIMARY KEY (actor, path, key)
);
CREATE INDEX idempotency_keys_kept_at ON __S__.idempotency_keys (kept_at);

-- A second caller in flight waits here for the first, and then finds its answer.
CREATE FUNCTION __S__.append_once(
    the_actor text, the_path text, the_key text, digest bytea, outcome bytea,
    ids uuid[], versions int8[], topics text[], states bytea[]
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM __S__.idempotency_keys k
        WHERE k.actor = the_actor AND k.path = the_path AND k.key = the_key
            AND k.kept_at < now() - interval '24 hours';
    INSERT INTO __S__.idempotency_keys (actor, path, key, digest, outcome, kept_at)
        VALUES (the_actor, the_path, the_key, digest, outcome, now());
    RETURN __S__.append(ids, versions, topics, states);
END $$;
