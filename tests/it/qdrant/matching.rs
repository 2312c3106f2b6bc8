//! Whether a payload passes a filter.

use std::collections::HashMap;

use ::qdrant_client::qdrant::condition::ConditionOneOf;
use ::qdrant_client::qdrant::r#match::MatchValue;
use ::qdrant_client::qdrant::value::Kind;
use ::qdrant_client::qdrant::{Condition, FieldCondition, Filter, Range, Value};
use tonic::Status;

use super::Collection;

type Payload = HashMap<String, Value>;

impl Collection {
    /// Refuses a filter by a field without an index, as a strict server does.
    pub fn check(&self, filter: &Filter) -> Result<(), Status> {
        let conditions = filter.must.iter().chain(&filter.should).chain(&filter.must_not);
        for condition in conditions {
            match condition.condition_one_of.as_ref() {
                Some(ConditionOneOf::Field(field)) if !self.indexed.contains(&field.key) => {
                    let text = format!("Index required but not found for \"{}\"", field.key);
                    return Err(Status::invalid_argument(text));
                }
                Some(ConditionOneOf::Filter(inner)) => self.check(inner)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether it passes.
pub fn passes(payload: &Payload, filter: &Filter) -> bool {
    let fits = |condition: &Condition| match condition.condition_one_of.as_ref() {
        Some(ConditionOneOf::Field(field)) => is_met(payload, field),
        Some(ConditionOneOf::Filter(inner)) => passes(payload, inner),
        other => panic!("the test server does not know {other:?}"),
    };
    filter.must.iter().all(fits)
        && (filter.should.is_empty() || filter.should.iter().any(fits))
        && !filter.must_not.iter().any(fits)
}

fn is_met(payload: &Payload, field: &FieldCondition) -> bool {
    let Some(value) = payload.get(&field.key) else { return false };
    let values = match &value.kind {
        Some(Kind::ListValue(list)) => &list.values[..],
        _ => std::slice::from_ref(value),
    };
    values.iter().any(|value| {
        let wanted = field.r#match.as_ref().and_then(|wanted| wanted.match_value.as_ref());
        wanted.is_none_or(|wanted| is_wanted(value, wanted))
            && field.range.as_ref().is_none_or(|range| is_within(value, range))
    })
}

fn is_wanted(value: &Value, wanted: &MatchValue) -> bool {
    match wanted {
        MatchValue::Keyword(text) => value.as_str() == Some(text),
        MatchValue::Keywords(any) => any.strings.iter().any(|text| value.as_str() == Some(text)),
        MatchValue::Boolean(flag) => value.as_bool() == Some(*flag),
        MatchValue::Integer(number) => value.as_integer() == Some(*number),
        other => panic!("the test server does not know {other:?}"),
    }
}

fn is_within(value: &Value, range: &Range) -> bool {
    let Some(number) = value.as_integer().map(|number| number as f64).or(value.as_double()) else {
        return false;
    };
    range.lt.is_none_or(|end| number < end)
        && range.lte.is_none_or(|end| number <= end)
        && range.gt.is_none_or(|start| number > start)
        && range.gte.is_none_or(|start| number >= start)
}
