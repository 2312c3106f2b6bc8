-- The event log: the only source of truth. Everything else can be rebuilt from it.
--
-- The first seven columns are postgres-es's; it loads aggregates from them. The rest is ours.
-- `position` orders all events: appends take turns under an advisory lock, so position order is commit order and a
-- plain bigint is a complete cursor. Only the appender and the import insert here, both under that lock.
create table events (
    aggregate_type text not null,
    aggregate_id   text not null,
    sequence       bigint not null check (sequence >= 1),
    event_type     text not null,
    event_version  text not null,
    payload        json not null,
    metadata       json not null,
    position       bigint generated always as identity,
    recorded_at    timestamptz not null default clock_timestamp(),
    event_id       uuid not null default gen_random_uuid(),
    command_id     uuid not null,
    correlation_id uuid not null,
    causation_id   uuid,
    actor          text not null,
    -- When it happened, where that differs from when it was recorded; null for imported history without a date.
    occurred_at    timestamptz,
    constraint events_stream_version primary key (aggregate_type, aggregate_id, sequence),
    constraint events_position unique (position)
);

comment on table events is 'Append-only log of domain events. Never update, delete or insert by hand.';

-- Ids are drawn from here, one sequence per kind, and never reused; the import moves them past the legacy ids.
create sequence lp_id;
create sequence gp_id;
create sequence distributor_id;
create sequence person_id;
create sequence fund_id;
create sequence note_id;
create sequence todo_id;
create sequence roadshow_id;

-- Requests that carried an Idempotency-Key: the key is written with the events, the answer right after.
create table idempotency_key (
    key            text primary key,
    request_hash   bytea not null,
    aggregate_type text not null,
    aggregate_id   text not null,
    -- Null when the command recorded nothing.
    position       bigint,
    version        bigint not null,
    recorded_at    timestamptz not null default clock_timestamp(),
    status         smallint,
    answer         bytea
);
create index idempotency_key_age on idempotency_key (recorded_at);

-- Tells one log from another: a tag of an answer is only good for the log it came from.
create table log_identity (id uuid primary key default gen_random_uuid());
insert into log_identity default values;
