-- Whether a point is of a card too short to say much: such are near to any short question, and are looked at only where their
-- kind is asked for. Sets from before are replaced by new ones, of the same vectors.
alter table vector_point add column brief boolean not null default false;
