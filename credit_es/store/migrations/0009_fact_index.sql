-- How far the index of facts holds the log. Whoever feeds it moves this row in the same transaction.
CREATE TABLE __S__.fact_index (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL
);
INSERT INTO __S__.fact_index (position) VALUES (0);
TRUNCATE __S__.facts;
