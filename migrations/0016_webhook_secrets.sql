-- What webhooks sign with is encrypted ("wrapped") under the master key, as the keys of streams are: a copy of the database
-- lets nobody sign as crm.
alter table webhook
    add column wrapped_secret   bytea,
    -- Signs as well until previous_until.
    add column wrapped_previous bytea,
    -- Tells under which master key: the beginning of its hash.
    add column secret_master    text,
    -- Plain, as an earlier release wrote them; whoever finds one wraps it. A server of such a release that still runs
    -- then finds none and sends nothing, rather than sign with something else.
    alter column secret drop not null,
    add constraint webhook_secret_is_plain_or_wrapped check (num_nonnulls(secret, wrapped_secret) = 1),
    add constraint webhook_secret_has_master check ((wrapped_secret is null) = (secret_master is null));
