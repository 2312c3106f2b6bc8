-- Streams that a projector cannot follow: an event of theirs cannot be read or folded. They wait here, with the error, and
-- are tried again whenever crm starts; all other streams go on.
create table dead_letter (
    projector      text not null,
    aggregate_type text not null,
    aggregate_id   text not null,
    -- From this event on the stream is missing in the projector's tables.
    position       bigint not null,
    error          text not null,
    parked_at      timestamptz not null default clock_timestamp(),
    primary key (projector, aggregate_type, aggregate_id)
);
