-- The folders of files that this database's files are in, where they are in folders: each by the id that the mark in it has.
-- A folder with another mark or none is not that folder, but perhaps the place where its disk should be mounted.
create table file_folder (
    place text primary key,
    id    uuid not null,
    since timestamptz not null default now()
);
