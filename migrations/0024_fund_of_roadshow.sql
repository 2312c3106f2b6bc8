-- A text with U+0000, which legacy files have, is valid JSON that Postgres stores and its operators refuse. So the fund that an
-- announcement names is not read by them but as text: `fund_id` is the first key of that name, and within a text its quotes are escaped.
drop index events_roadshow_of_fund;
create index events_roadshow_of_fund on events ((substring(payload::text from '"fund_id": *(-?[0-9]+)')))
    where aggregate_type = 'roadshow' and event_type in ('Registered', 'FundAssigned');
