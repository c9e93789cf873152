-- Ingestions are queued here first; Redis only wakes a worker up.
CREATE TABLE __S__.workbooks (
    sha256 text PRIMARY KEY,
    content bytea NOT NULL
);

CREATE TABLE __S__.ingestions (
    ingestion_id uuid PRIMARY KEY,
    customers_name text NOT NULL,
    customers_sha256 text NOT NULL REFERENCES __S__.workbooks,
    loans_name text NOT NULL,
    loans_sha256 text NOT NULL REFERENCES __S__.workbooks,
    check_only boolean NOT NULL,
    actor text NOT NULL,
    correlation_id text NOT NULL,
    requested_at timestamptz NOT NULL,
    requested_on date NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    done bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    counts bytea,
    problem text,
    enqueued_at timestamptz NOT NULL,
    seen_at timestamptz,
    finished_at timestamptz
);
CREATE INDEX ingestions_requested ON __S__.ingestions (requested_at DESC, ingestion_id);
CREATE INDEX ingestions_open ON __S__.ingestions (enqueued_at)
    WHERE status IN ('queued', 'running');

CREATE TABLE __S__.ingestion_findings (
    ingestion_id uuid NOT NULL REFERENCES __S__.ingestions,
    number bigint NOT NULL,
    workbook text NOT NULL,
    sheet text NOT NULL,
    sheet_row bigint NOT NULL,
    sheet_column text,
    code text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (ingestion_id, number)
);
