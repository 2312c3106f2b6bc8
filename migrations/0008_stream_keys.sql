-- The events of people and notes are sealed, each stream under a key of its own, so that destroying one key erases one record
-- wherever its events were copied to. The keys are encrypted ("wrapped") under a master key that never is in the database.
create table stream_key (
    aggregate_type text not null,
    aggregate_id   text not null,
    -- Null once it was destroyed.
    wrapped        bytea,
    -- Tells under which master key: the beginning of its hash.
    master_id      text not null,
    created_at     timestamptz not null default now(),
    destroyed_at   timestamptz,
    -- When what had been made of the record's content was wiped off the disk as well.
    scrubbed_at    timestamptz,
    -- Files of the record that are still to be removed.
    leftovers      text[],
    primary key (aggregate_type, aggregate_id),
    constraint stream_key_destroyed check ((wrapped is null) = (destroyed_at is not null))
);
create index stream_key_unscrubbed on stream_key (destroyed_at) where destroyed_at is not null and scrubbed_at is null;

-- The master key that new keys are wrapped under: one row, from the first start on.
create table master_key (
    id    text primary key,
    since timestamptz not null default now(),
    is_only boolean not null default true unique check (is_only)
);
