-- The event store. docs/decisions/0001-advisory-lock-floors.md says why it has this form; it also
-- runs on Citus, one schema a node: no default on "position", no other sequence, no LANGUAGE sql.
CREATE SEQUENCE __S__.log_position CACHE 1;

CREATE TABLE __S__.events (
    position bigint NOT NULL,
    stream_id uuid NOT NULL,
    version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (stream_id, version)
);
CREATE UNIQUE INDEX events_position ON __S__.events (position);

CREATE TABLE __S__.numbers (
    kind text PRIMARY KEY,
    next bigint NOT NULL
);

-- A floor under the positions that this transaction may get: a shared lock whose key is the pair
-- (oid of the sequence, low 32 bits of its value). One a transaction, not one a statement; a
-- savepoint that undoes the lock undoes the setting that remembers it, too.
CREATE FUNCTION __S__.events_floor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('credit.floor', true), '') = '__S__' THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(
        q.tableoid::int,
        ((q.last_value - CASE WHEN q.is_called THEN 0 ELSE 1 END) & 4294967295)::bit(32)::int
    ) FROM __S__.log_position q;
    PERFORM set_config('credit.floor', '__S__', true);
    RETURN NULL;
END $$;

-- The position is taken on the node that holds the schema, after the floor.
CREATE FUNCTION __S__.events_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.position := nextval('__S__.log_position');
    RETURN NEW;
END $$;

CREATE TRIGGER events_floor BEFORE INSERT ON __S__.events
    FOR EACH STATEMENT EXECUTE FUNCTION __S__.events_floor();
CREATE TRIGGER events_number BEFORE INSERT ON __S__.events
    FOR EACH ROW EXECUTE FUNCTION __S__.events_number();

-- Replication must number and floor as well; Citus refuses the clause and does without.
DO $$
BEGIN
    ALTER TABLE __S__.events ENABLE ALWAYS TRIGGER events_floor;
    ALTER TABLE __S__.events ENABLE ALWAYS TRIGGER events_number;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server takes no ENABLE ALWAYS trigger';
END $$;

-- How far a tail reader may read: the head first, then the lowest live floor; the rows are for a
-- later statement. The argument keeps a prepared call routed to the right node after a move.
CREATE FUNCTION __S__.safe_position(after bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    head bigint;
    floor bigint;
    sequence oid;
BEGIN
    SELECT q.last_value - CASE WHEN q.is_called THEN 0 ELSE 1 END, q.tableoid
        INTO head, sequence FROM __S__.log_position q;
    SELECT min(head - ((head - l.objid::bigint) & 4294967295)::bit(32)::int) INTO floor
        FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = sequence
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    RETURN greatest(after, least(head, floor));
END $$;

-- The hot path: one call in autocommit; the positions come back in the order of the events.
CREATE FUNCTION __S__.append(ids uuid[], versions int8[], topics text[], states bytea[])
RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    given bigint;
    positions bigint[] := '{}';
BEGIN
    FOR i IN 1..coalesce(array_length(ids, 1), 0) LOOP
        INSERT INTO __S__.events (stream_id, version, topic, state)
            VALUES (ids[i], versions[i], topics[i], states[i]) RETURNING position INTO given;
        positions := positions || given;
    END LOOP;
    RETURN positions;
END $$;
