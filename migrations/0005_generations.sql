-- Read models live in generations: each has a schema of its own, `read_<projector>_<number>`, made by the projector's own
-- code and filled from the log. So a new one can be built beside the one that is read, and the one before be kept. The
-- tables of earlier releases are folded again from the log at the next start.
drop table lp, gp, distributor, person, fund, note, todo, roadshow, fund_roadshow, link, interest, lp_status;
drop table checkpoint, dead_letter;

create table generation (
    projector text not null,
    number    integer not null,
    -- The version of the projector's code that fills it; code of another version leaves it alone.
    version   integer not null,
    -- Only one is live: the one that is read, but by a release that knows another version of it.
    state     text not null check (state in ('building', 'live', 'previous')),
    -- Everything up to here is in its tables.
    position  bigint not null default 0,
    -- The last position that changed a row of them.
    changed   bigint not null default 0,
    -- Grows whenever readers must not rely on what they know: a swap, or a parked stream that was taken back.
    revision  bigint not null default 0,
    -- Events per second folded in the last minute, more or less, when it last moved.
    rate      double precision not null default 0,
    moved_at  timestamptz,
    built_at  timestamptz not null default now(),
    primary key (projector, number)
) with (fillfactor = 50);
create unique index generation_live on generation (projector) where state = 'live';

-- The last rebuild of each projector, running or not.
create table rebuild (
    projector   text primary key,
    number      integer not null,
    -- Who runs it, for whoever would like to as well.
    holder      text not null,
    -- loading, indexing, tailing, done, cancelled or failed
    phase       text not null,
    done        bigint not null default 0,
    total       bigint not null default 0,
    started_at  timestamptz not null default now(),
    -- Renewed every second or so; a running rebuild whose time stands still is dead.
    heard_at    timestamptz not null default now(),
    finished_at timestamptz,
    error       text,
    -- Set by whoever wants it stopped.
    cancelled   boolean not null default false
);

-- Streams that a projector cannot follow: an event of theirs cannot be read or folded. They wait here, with the error, and
-- are tried again whenever crm starts or somebody asks for it; all other streams go on.
create table dead_letter (
    projector      text not null,
    generation     integer not null,
    aggregate_type text not null,
    aggregate_id   text not null,
    -- From this event on the stream is missing in the projector's tables.
    position       bigint not null,
    error          text not null,
    parked_at      timestamptz not null default clock_timestamp(),
    primary key (projector, generation, aggregate_type, aggregate_id)
);

-- Events that a person has told a projector to leave out, in this generation and all that come.
create table skipped_event (
    projector      text not null,
    position       bigint not null,
    aggregate_type text not null,
    aggregate_id   text not null,
    error          text not null,
    reason         text not null,
    actor          text not null,
    skipped_at     timestamptz not null default clock_timestamp(),
    primary key (projector, position)
);

-- What the last checks of the log and the read models found.
create table verification (
    id          bigint generated always as identity primary key,
    started_at  timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    -- The log's end when it began.
    position    bigint not null,
    passed      boolean not null,
    report      json not null
);
