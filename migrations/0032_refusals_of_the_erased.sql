-- Refusals about erased records say no more than that they were refused, as they are kept by now. Those that an earlier release kept
-- are cut once.
do $$
begin
    -- At once as it is to be held at last: whoever deletes meanwhile would wait for this, and this for them.
    lock table refusal in access exclusive mode;
    update refusal
    set path = coalesce(substring(path from '^/[^/]*/[^/]*'), path),
        why = case when status in (400, 422) then 'not kept after an erasure' else why end
    from stream_key
    where kind = aggregate_type and record_id = aggregate_id::bigint and destroyed_at is not null;
    if found then
        -- A column of another type has the table written anew, and so has one that is computed of itself: what the rows said before is
        -- not left in the file, as it would be by CLUSTER, which takes along what this very transaction has changed.
        alter table refusal alter column why type text using why || '';
    end if;
end $$;
