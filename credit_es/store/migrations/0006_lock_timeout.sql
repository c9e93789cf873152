-- An append waits 5 seconds at most for another's transaction that holds its version or key, also
-- behind a pooler, where the session's own lock_timeout cannot be set. Costs 5 us a call.
ALTER FUNCTION __S__.append(uuid[], int8[], text[], bytea[]) SET lock_timeout = '5s';
ALTER FUNCTION __S__.append_once(
    text, text, text, bytea, bytea, uuid[], int8[], text[], bytea[]
) SET lock_timeout = '5s';
