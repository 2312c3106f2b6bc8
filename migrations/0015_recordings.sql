-- Recordings of notes. Their ids are drawn from here and never reused, across all notes.
create sequence recording_id;

-- What reacts to events with work and commands: everything in the log up to here has been looked at.
create table reactor (
    name     text primary key,
    position bigint not null default 0
);

-- What is to be done with recordings: a fold of the log, one row for each thing that was asked for and is not done, failed
-- or withdrawn. Only the reactor adds and removes rows; workers lease them.
create table job (
    id           bigint generated always as identity primary key,
    note_id      bigint not null,
    recording_id bigint not null,
    stage        text not null check (stage in ('transcribe', 'summarise')),
    -- Of the recording; a result of an earlier one is refused.
    round        integer not null,
    -- The event that asks for it.
    cause        uuid not null,
    correlation  uuid not null,
    asked_at     timestamptz not null,
    -- While its note is archived.
    suspended    boolean not null default false,
    -- Nobody takes it before.
    ready_at     timestamptz not null default now(),
    -- Attempts that failed one after the other, and why the last did.
    failures     integer not null default 0,
    reason       text,
    -- Who is at it: whoever knows the token, until then.
    worker       text,
    token        uuid,
    leased_until timestamptz,
    -- How far it is, in milliseconds of the recording.
    done_ms      bigint not null default 0,
    total_ms     bigint,
    unique (recording_id, stage, round)
);
create index job_ready on job (ready_at);
create index job_of_note on job (note_id);

-- The journal of a transcription: a row per chunk, with its text when it is finished, sealed under the note's key.
create table transcript_chunk (
    job_id       bigint not null references job on delete cascade,
    number       integer not null,
    -- In samples of 16 kHz.
    start_sample bigint not null,
    end_sample   bigint,
    -- How often it was begun, and how often it failed.
    begun        integer not null default 0,
    failed       integer not null default 0,
    content      text,
    primary key (job_id, number)
);

-- Workers that are there, and what they can do.
create table worker (
    id      uuid primary key,
    name    text not null,
    stages  text[] not null,
    -- What it lacks for the others.
    lacks   text,
    seen_at timestamptz not null default now()
);
