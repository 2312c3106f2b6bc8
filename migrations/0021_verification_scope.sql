-- What a check looked at, so that a narrower one is not taken for a whole one; and checks that came to nothing, which have an
-- error in place of a report.
alter table verification
    -- The log, the read models that were compared, and the vectors, by name. What an earlier release leaves out counts as
    -- little.
    add column scope    text[] not null default '{log}',
    add column is_full  boolean not null default false,
    -- Why nothing can be said.
    add column error    text,
    alter column passed drop not null,
    alter column report drop not null,
    add constraint verification_says_something check ((error is null) = (passed is not null and report is not null));

-- An earlier check of all read models counts as a full one: whether it looked at the vectors as well is not known.
update verification set
    scope = array['log'] || array(select model->>'name' from json_array_elements(report->'projections') as model),
    is_full = exists (select from generation) and not exists (
        select from generation
        where projector not in (select model->>'name' from json_array_elements(report->'projections') as model));
create index verification_by_scope on verification (is_full, id);
