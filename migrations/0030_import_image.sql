-- The images that notes of legacy files name, by whether an import has had them: what was never there is not lost.
create table import_image (
    name     text primary key,
    is_there boolean not null
);
