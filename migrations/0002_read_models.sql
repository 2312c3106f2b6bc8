-- Read models: folded from the log by projectors, dropped and rebuilt at will. Nothing else writes here.
--
-- Each kind of record has a table of the same shape. `record` is the JSON text that readers get, so that a list is
-- answered without decoding a value; what queries select or sort by stands beside it in columns of its own.
-- `version` is the sequence of the record's last event, `position` that of the last event that changed the row.
-- Archived records stay, so that restoring one is an event like any other; no query shows them.

create table checkpoint (
    projector text primary key,
    -- Everything up to here is in the projector's tables.
    position  bigint not null default 0,
    -- The last position that changed a row of them.
    changed   bigint not null default 0,
    -- How often the tables were changed other than by following the log, as when a parked stream was taken back.
    generation bigint not null default 0
);

create table lp (
    id bigint primary key, version bigint not null, position bigint not null,
    archived boolean not null, record json not null,
    folded_name text not null collate "C", notion_id text
);
create table gp (like lp including all);
create table distributor (like lp including all);
create table person (like lp including all);
create table fund (
    like lp including all,
    fund_name text not null collate "C"
);
create table note (
    like lp including all,
    -- The date as text that sorts by time, as the legacy database sorted it.
    date_key text collate "C"
);
create table todo (
    like lp including all,
    due_key text collate "C", status text not null collate "C", priority text collate "C",
    folded_tags text collate "C", note_id bigint
);
create table roadshow (like lp including all);

-- What a roadshow last announced, so that its arrival can be copied onto its fund.
create table fund_roadshow (
    roadshow_id bigint primary key,
    fund_id     bigint not null,
    arrival     text
);

-- All links between records, owner first. Targets of imported links may not exist.
create table link (
    from_kind text not null collate "C", from_id bigint not null,
    to_kind   text not null collate "C", to_id   bigint not null,
    primary key (from_kind, from_id, to_kind, to_id)
);
create index link_backwards on link (to_kind, to_id, from_kind, from_id);

-- The sales funnel: interest of LPs in funds. The contact is what a legacy row remembered.
create table interest (
    fund_id bigint not null, lp_id bigint not null,
    interest text not null, contact_date text, contact_note bigint,
    primary key (fund_id, lp_id)
);
create table lp_status (
    roadshow_id bigint not null, lp_id bigint not null,
    status text not null, contact_date text, contact_note bigint,
    primary key (roadshow_id, lp_id)
);

-- Lists are kept in memory and brought up to date by what changed since.
create index lp_position on lp (position);
create index gp_position on gp (position);
create index distributor_position on distributor (position);
create index person_position on person (position);
create index fund_position on fund (position);
create index note_position on note (position);
create index todo_position on todo (position);
create index roadshow_position on roadshow (position);

-- notion_id is unique per kind at the API; legacy files hold duplicates. Hash indexes, since the text may be long.
create index lp_notion_id on lp using hash (notion_id) where notion_id is not null;
create index gp_notion_id on gp using hash (notion_id) where notion_id is not null;
create index distributor_notion_id on distributor using hash (notion_id) where notion_id is not null;
create index person_notion_id on person using hash (notion_id) where notion_id is not null;
create index fund_notion_id on fund using hash (notion_id) where notion_id is not null;
create index note_notion_id on note using hash (notion_id) where notion_id is not null;

create index note_by_date on note (date_key desc nulls last, id) where not archived;
create index todo_by_due on todo (due_key nulls first, id) where not archived;
create index todo_of_note on todo (note_id) where note_id is not null;

-- Search by part of a name.
create extension if not exists pg_trgm;
create index lp_search on lp using gin (folded_name gin_trgm_ops);
create index gp_search on gp using gin (folded_name gin_trgm_ops);
create index distributor_search on distributor using gin (folded_name gin_trgm_ops);
create index person_search on person using gin (folded_name gin_trgm_ops);
create index fund_search on fund using gin (folded_name gin_trgm_ops);
create index todo_tags on todo using gin (folded_tags gin_trgm_ops);
