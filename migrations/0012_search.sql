-- What search needs of Postgres: words without accents, stemmed in English and in Spanish, and one way to fold names.
create extension if not exists unaccent;

create text search configuration crm_english (copy = pg_catalog.english);
alter text search configuration crm_english
    alter mapping for asciiword, asciihword, hword_asciipart, word, hword, hword_part with unaccent, english_stem;

-- The stop words of Spanish have accents, so they are looked for before these are taken away.
create text search dictionary crm_spanish_stop (template = pg_catalog.simple, stopwords = spanish, accept = false);
create text search configuration crm_spanish (copy = pg_catalog.spanish);
alter text search configuration crm_spanish
    alter mapping for asciiword, asciihword, hword_asciipart, word, hword, hword_part
    with crm_spanish_stop, unaccent, spanish_stem;

-- Lower case without accents. Declared immutable so that columns can be made of it: its rules come with Postgres and are
-- not edited.
create function crm_fold(text) returns text
    language sql immutable strict parallel safe
    begin atomic
        select lower(unaccent('unaccent'::regdictionary, $1));
    end;

-- The words of a passage as they are searched: stemmed in its language, in both if it is not known. Without positions:
-- with them they would lie outside the row, and reading them is what a search spends its time on.
create function crm_words(lang text, said text) returns tsvector
    language sql immutable parallel safe
    begin atomic
        select strip(case lang
            when 'en' then to_tsvector('crm_english'::regconfig, said)
            when 'es' then to_tsvector('crm_spanish'::regconfig, said)
            else to_tsvector('crm_english'::regconfig, said) || to_tsvector('crm_spanish'::regconfig, said)
        end);
    end;

-- The words of a question, each as either language stems it. What is a stop word in one of them is left out, unless
-- nothing else is there.
create function crm_asked(said text) returns table (place integer, lexemes text[])
    language sql immutable parallel safe
    begin atomic
        with english as (
                 select unnest(positions)::integer as place, lexeme
                 from unnest(to_tsvector('crm_english'::regconfig, said))),
             spanish as (
                 select unnest(positions)::integer as place, lexeme
                 from unnest(to_tsvector('crm_spanish'::regconfig, said))),
             stems as (select place, lexeme from english union select place, lexeme from spanish),
             both_keep as (select place from english intersect select place from spanish)
        select place, array_agg(lexeme order by lexeme)
        from stems
        where place in (select place from both_keep) or not exists (select from both_keep)
        group by place;
    end;
