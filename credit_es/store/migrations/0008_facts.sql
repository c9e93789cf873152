-- What auditors search the log by: a row a fact, fed behind the log by the projector. Disposable: it
-- may be emptied at any time, and is filled again.
CREATE TABLE __S__.facts (
    position bigint PRIMARY KEY,
    topic text NOT NULL,
    actor text NOT NULL,
    occurred_on date NOT NULL,
    recorded_at timestamptz NOT NULL,
    customer_number bigint,
    amount numeric,
    reasons text[]
);
CREATE INDEX facts_topic ON __S__.facts (topic, position);
CREATE INDEX facts_actor ON __S__.facts (actor, position);
CREATE INDEX facts_customer ON __S__.facts (customer_number, position)
    WHERE customer_number IS NOT NULL;
CREATE INDEX facts_amount ON __S__.facts (amount, position) WHERE amount IS NOT NULL;
CREATE INDEX facts_occurred ON __S__.facts (occurred_on, position);
CREATE INDEX facts_recorded ON __S__.facts (recorded_at, position);
CREATE INDEX facts_reasons ON __S__.facts USING gin (reasons) WHERE reasons IS NOT NULL;
