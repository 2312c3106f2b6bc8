-- Tamper evidence: a hash chain over the stored bytes of every event, in batches, each end signed. A sealer writes it behind
-- the log; `crm verify --log` recomputes it. projections/src/seal/digest.rs says what exactly is hashed.

-- Public halves (Ed25519) of every key that ever sealed this log. A second row is a change of keys.
create table seal_key (
    id            integer generated always as identity primary key,
    public_key    bytea not null unique check (length(public_key) = 32),
    introduced_at timestamptz not null default clock_timestamp()
);

create table seal (
    -- 1, 2, 3, without a gap.
    number    bigint primary key check (number >= 1),
    -- It covers the events behind `after`, which is where the seal before ends, up to and with `position`. None of them: a
    -- change of keys.
    after     bigint not null,
    position  bigint not null check (position >= after),
    events    bigint not null check (events >= 0),
    -- All events from the log's beginning up to here.
    total     bigint not null,
    -- The positions of its events, which may have gaps: first and last of each run without one.
    runs      bigint[] not null,
    -- The SHA-256 of each event, one after the other, so that the one that was changed can be named.
    digests   bytea not null check (length(digests) = 32 * events),
    -- Digest of all of that, and the end of the chain after it.
    batch     bytea not null check (length(batch) = 32),
    head      bytea not null check (length(head) = 32),
    sealed_at timestamptz not null,
    key       integer not null references seal_key,
    signature bytea not null check (length(signature) = 64)
);
-- Digests do not compress.
alter table seal alter column digests set storage external;
create index seal_position on seal (position);

-- What was recorded stays as it was. Whoever owns the tables can take these guards away, and the seals then tell what was
-- done; they are here for a slip of the hand.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'nothing in % is ever changed or removed', tg_table_name
        using detail = format('This was a %s.', lower(tg_op)),
              hint = 'What is wrong in the log is put right by another event.',
              errcode = 'restrict_violation';
end $$;

create trigger only_grows before update or delete or truncate on events
    for each statement execute function refuse_change();
create trigger only_grows before update or delete or truncate on seal
    for each statement execute function refuse_change();
create trigger only_grows before update or delete or truncate on seal_key
    for each statement execute function refuse_change();
-- In sessions that replay what others did as well.
alter table events enable always trigger only_grows;
alter table seal enable always trigger only_grows;
alter table seal_key enable always trigger only_grows;
