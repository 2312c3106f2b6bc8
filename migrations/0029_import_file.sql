-- The legacy file that was imported last, by what SQLite writes at its beginning: an older copy of it is told by that.
create table import_file (
    is_only        boolean primary key default true check (is_only),
    name           text not null,
    -- How often it had been changed, and how often its tables had.
    changes        bigint not null,
    schema_changes bigint not null,
    -- The highest id of each kind that it had or referred to.
    highest        jsonb not null,
    imported_at    timestamptz not null default now()
);
