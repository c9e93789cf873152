-- Which days and instants the facts of some thousand positions have at least and at most, so that a
-- search by either looks only where such facts can be. Whoever feeds the index feeds the zones, too,
-- up to `zoned_upto`; what a release before this one has fed is made up for in the next batch.
CREATE TABLE __S__.fact_zones (
    zone bigint PRIMARY KEY,
    occurred_first date NOT NULL,
    occurred_last date NOT NULL,
    recorded_first timestamptz NOT NULL,
    recorded_last timestamptz NOT NULL
);
ALTER TABLE __S__.fact_index ADD COLUMN zoned_upto bigint NOT NULL DEFAULT 0;
