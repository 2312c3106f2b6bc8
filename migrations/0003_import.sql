-- What the last import of a legacy database saw, so that the next one appends only the differences. Written in the
-- same transaction as the events it speaks of.
create table import_unit (
    -- The kind of a record that was imported with all rows it owns, or 'row:<table>' for a row that belongs to none.
    kind      text not null,
    -- The record's id, or the row's key.
    key       text not null,
    -- Hash of the rows; null once they are gone from the file.
    hash      bytea,
    -- The version of the record's stream after the import. A higher one means that it was changed in crm since.
    version   bigint not null,
    -- Hashes of the record's name and Notion id: tell a newer copy of the file from another file.
    identity  bytea not null,
    -- A fund's: the arrival that a roadshow has announced while the fund's own row is still to be looked at.
    announced text,
    constraint import_unit_key primary key (kind, key)
);
