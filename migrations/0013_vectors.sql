-- Vectors of the texts that are searched by meaning. None of this belongs to a generation of a read model: a rebuild, or a move
-- to another engine, finds the vectors here and computes none again.

-- What turns text into vectors.
create table embedding_model (
    id         integer generated always as identity primary key,
    -- Tells weights, prefixes and longest text.
    name       text not null unique,
    dimensions integer not null check (dimensions > 0)
);

-- A text's vector: little-endian 32-bit floats.
create table embedding (
    model  integer not null references embedding_model,
    -- The beginning of the SHA-256 of heading and text.
    digest bytea not null,
    vector bytea not null,
    primary key (model, digest)
);
-- Floats do not compress.
alter table embedding alter column vector set storage external;

-- A set of points: what an engine holds of one model and one way of cutting texts. One is live; another may be built beside it.
create table vector_set (
    id         integer generated always as identity primary key,
    model      integer not null references embedding_model,
    -- The version of the projector that cuts texts into passages, and that of the headings put before them.
    chunks     text not null,
    state      text not null default 'building' check (state in ('building', 'live', 'retired')),
    -- Records up to this position of the log are in it.
    position   bigint not null default 0,
    -- Texts taken in since `started_at`, and how many of them had to be embedded.
    done       bigint not null default 0,
    embedded   bigint not null default 0,
    -- Seconds of embedding so far, for the rate.
    seconds    double precision not null default 0,
    started_at timestamptz not null default now(),
    live_at    timestamptz,
    -- When whoever fills it was last heard of, and why it cannot go on, if so.
    heard_at   timestamptz not null default now(),
    error      text
);
create unique index vector_set_live on vector_set (model) where state = 'live';
create unique index vector_set_building on vector_set (model) where state = 'building';

-- Every write of a record's points gets the next of these, in the order of commits: there is one writer to a set.
create sequence vector_revision;

-- A record as it was taken into a set, whether it had any text or not.
create table vector_record (
    set_id   integer not null references vector_set on delete cascade,
    kind     text collate "C" not null,
    id       bigint not null,
    -- The record's last event that was taken in.
    position bigint not null,
    revision bigint not null default nextval('vector_revision'),
    -- Hash of an organisation's name, which stands in the headings of what is about it.
    title    bytea,
    primary key (set_id, kind, id)
);
create index vector_record_revision on vector_record (set_id, revision);

-- A point: a piece of a record's text, which vector it has, and what searches are narrowed by.
create table vector_point (
    set_id  integer not null references vector_set on delete cascade,
    kind    text collate "C" not null,
    id      bigint not null,
    part    text collate "C" not null,
    ordinal integer not null,
    -- Of the text alone, as the read model has it.
    digest  bytea not null,
    model   integer not null,
    -- Of heading and text.
    embedding bytea not null,
    on_date timestamptz,
    lang    text,
    about   text[] not null,
    primary key (set_id, kind, id, part, ordinal),
    foreign key (model, embedding) references embedding (model, digest)
);
create index vector_point_embedding on vector_point (model, embedding);

-- How far an engine outside this database has been told of a set, and what it last complained of.
create table vector_engine (
    set_id   integer not null references vector_set on delete cascade,
    engine   text not null,
    revision bigint not null default 0,
    told_at  timestamptz not null default now(),
    error    text,
    primary key (set_id, engine)
);
