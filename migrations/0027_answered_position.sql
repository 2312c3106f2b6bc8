-- The X-Position of the answer: of a write that recorded nothing the log does not tell it.
alter table idempotency_key add column answered_position bigint;
