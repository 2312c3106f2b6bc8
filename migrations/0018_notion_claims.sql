-- Which records in use have which Notion id. A command that gives a record one that another of its kind has is refused; this
-- is settled in the transaction that appends its events. Imports bring what their files say, also the same one twice.
create table notion_claim (
    kind   text not null,
    -- SHA-256 of the Notion id: short, and nothing that an erased record said.
    digest bytea not null,
    id     bigint not null,
    primary key (kind, digest, id)
);

-- What earlier releases have recorded, as the read models have it.
do $$
declare
    it record;
begin
    for it in
        select projector as kind, format('read_%s_%s', projector, number) as place from generation
        where state = 'live' and projector in ('lp', 'gp', 'distributor', 'person', 'fund', 'note')
    loop
        execute format(
            'insert into notion_claim
             select %L, sha256(convert_to(notion_id, ''UTF8'')), id from %I.%I where notion_id is not null and not archived',
            it.kind, it.place, it.kind);
    end loop;
end $$;
