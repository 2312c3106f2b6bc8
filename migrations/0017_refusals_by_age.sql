-- Refusals are kept for a time only: to find those that are older.
create index refusal_by_age on refusal (refused_at);
