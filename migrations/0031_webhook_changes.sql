-- What people did to webhooks. It outlives them: to whom events went must be known afterwards.
create table webhook_change (
    id             bigint generated always as identity primary key,
    changed_at     timestamptz not null default clock_timestamp(),
    webhook_id     integer not null,
    change         text not null check (change in ('added', 'changed', 'enabled', 'removed')),
    -- As it is after the change, or was before it was removed.
    url            text not null,
    kinds          text[] not null,
    records        text[] not null,
    position       bigint not null,
    -- Whether it was given a new secret.
    new_secret     boolean not null,
    actor          text not null,
    correlation_id uuid not null,
    client         text,
    user_agent     text
);
