-- The commands of reactors are refused as well, and what led to them is known.
alter table refusal add column causation_id uuid;
