-- Whether the file is stored enciphered under a key of its note. What was begun before is finished as it was begun.
alter table upload add column sealed boolean not null default false;
