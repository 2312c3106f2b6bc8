-- The idempotency key of the request that sent an upload, so that the same request again is the same recording.
alter table upload add column request_key text unique;
