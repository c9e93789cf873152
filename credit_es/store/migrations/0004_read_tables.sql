-- Which read tables exist, how far each holds the log, and which one its view shows.
CREATE TABLE __S__.read_tables (
    projection text NOT NULL,
    definition bigint NOT NULL,
    version bigint NOT NULL,
    position bigint NOT NULL,
    live boolean NOT NULL,
    problem text,
    built_at timestamptz NOT NULL,
    PRIMARY KEY (projection, version)
);
CREATE UNIQUE INDEX read_tables_live ON __S__.read_tables (projection, definition) WHERE live;
