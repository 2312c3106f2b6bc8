-- Requests to change something that were refused or failed: who tried what, and why it did not happen. No events, since
-- nothing happened, and no read model, since no log tells of them. What a request carried is not kept.
create table refusal (
    id             bigint generated always as identity primary key,
    refused_at     timestamptz not null default clock_timestamp(),
    actor          text not null,
    method         text not null,
    path           text not null,
    -- What the command is called, if the request came so far.
    command        text,
    -- The record that the path names, if it names one.
    kind           text,
    record_id      bigint,
    status         smallint not null,
    why            text not null,
    correlation_id uuid not null,
    client         text,
    user_agent     text
);
create index refusal_of_record on refusal (kind, record_id, id);
create index refusal_by_actor on refusal (actor, id);
create index refusal_in_conversation on refusal (correlation_id);
