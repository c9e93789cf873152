-- States folded so far, so that a long stream costs no more to decide on than a short one. They are
-- disposable: a state of another definition is not used, and an emptied table only costs time.
CREATE TABLE __S__.snapshots (
    stream_id uuid PRIMARY KEY,
    definition bigint NOT NULL,
    version bigint NOT NULL,
    state bytea NOT NULL
);
