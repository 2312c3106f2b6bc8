-- Who is told of events by POST, and how far each has been told.
create table webhook (
    id              integer generated always as identity primary key,
    url             text not null,
    -- Aggregate types and records such as lp/7; both empty: everything.
    kinds           text[] not null default '{}',
    records         text[] not null default '{}',
    secret          bytea not null,
    -- Signs as well until then, so that receivers can change over.
    previous_secret bytea,
    previous_until  timestamptz,
    state           text not null default 'enabled' check (state in ('enabled', 'disabled')),
    -- Why it is disabled.
    reason          text,
    -- Up to here everything has been delivered or is not wanted.
    position        bigint not null check (position >= 0),
    -- Attempts at the next event that have failed.
    attempts        integer not null default 0,
    failing_since   timestamptz,
    next_attempt_at timestamptz not null default now(),
    created_at      timestamptz not null default now(),
    -- Grows with every change that a person makes: what was sent before it is not booked on what holds after it.
    revision        bigint not null default 1
);

-- The last attempts of each.
create table webhook_delivery (
    id           bigint generated always as identity primary key,
    webhook_id   integer not null references webhook on delete cascade,
    attempted_at timestamptz not null default clock_timestamp(),
    -- Null for a test.
    position     bigint,
    event_id     uuid not null,
    event_type   text not null,
    attempt      integer not null,
    -- What the receiver answered; null if it did not.
    status       smallint,
    -- Null when it was delivered.
    error        text,
    duration_ms  integer not null
);
create index webhook_delivery_of on webhook_delivery (webhook_id, id);
