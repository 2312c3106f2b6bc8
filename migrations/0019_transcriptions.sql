-- What a transcription was begun with: the model, and the names that it is told, sealed under the note's key. The journal is
-- gone on with by the same model and with the same names, or begun anew.
create table transcription (
    job_id bigint primary key references job on delete cascade,
    model  text not null,
    names  text not null
);

alter table job
    -- Attempts, one after the other, that found something away which they need; these are no failures.
    add column outages integer not null default 0,
    -- Whether the last attempt found no such speech model as the recording asks for.
    add column waits_for_model boolean not null default false;
