-- How long recordings are, from the first look of a worker on: its job, which knows that as well, goes when it is cancelled or fails.
create table recording_length (
    recording_id bigint primary key,
    note_id      bigint not null,
    total_ms     bigint not null
);
create index on recording_length (note_id);
