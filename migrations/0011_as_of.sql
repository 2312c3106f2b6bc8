-- Which roadshows were ever for a fund: a fund as it once was shows the date that they announced. Only roadshows are in it,
-- whose payloads are never sealed, so it costs other appends nothing.
create index events_roadshow_of_fund on events
    ((coalesce(payload -> 'Registered', payload -> 'FundAssigned') ->> 'fund_id'))
    where aggregate_type = 'roadshow' and event_type in ('Registered', 'FundAssigned');
