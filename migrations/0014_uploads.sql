-- Recordings on their way into the file storage. The row of one that has arrived stays as long as its file.
create table upload (
    -- Also names the file.
    id              uuid primary key,
    note_id         bigint not null,
    -- What its sender calls it.
    name            text,
    -- The language spoken in it, if the sender said so.
    language        text,
    -- Length in bytes; null while the sender does not know it yet.
    size            bigint check (size > 0),
    -- How many bytes are stored for good.
    received        bigint not null default 0 check (received >= 0),
    -- What the file storage needs to go on.
    growth          jsonb not null default '{"size": 0}',
    -- SHA-256 in hexadecimal: what the sender promised, and what came.
    promised_sha256 text,
    sha256          text,
    -- What its bytes say that it is, once it is whole.
    media_type      text,
    -- What the note calls it: chosen when it is whole, so that it is attached once however often that is tried.
    recording_id    bigint unique,
    -- When the note had it.
    attached_at     timestamptz,
    created_at      timestamptz not null default clock_timestamp(),
    -- When what was not finished may be removed.
    expires_at      timestamptz not null
);
create index upload_of on upload (note_id);
