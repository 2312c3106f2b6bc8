-- Whether a point is of a card too short to say much: such are near to any short question, and are looked at only where their
-- kind is asked for. Sets from before are replaced by new ones, of the same vectors.
alter table vector_point add column brief boolean not null default false;

-- Records that have no text left, in sets that nobody fills at present: an engine outside is still to delete its points of
-- them that are older than the revision. Whoever tells that engine anything does so.
create table vector_gone (
    set_id   integer not null references vector_set on delete cascade,
    engine   text not null,
    kind     text collate "C" not null,
    id       bigint not null,
    revision bigint not null default nextval('vector_revision'),
    primary key (set_id, engine, kind, id)
);
