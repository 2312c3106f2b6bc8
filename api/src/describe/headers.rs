//! The headers that steer requests, and those that answers tell something by.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{HttpMethod, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use super::{LIVE, SERVER, UPLOADS, is_steered};

/// The headers that steer a request of this method, all optional. Where the path names no record there is no tag.
pub(super) fn header_parameters(
    method: &HttpMethod,
    tag: &str,
    is_of_a_record: bool,
) -> impl Iterator<Item = Parameter> {
    const ONCE: (&str, &str) = ("Idempotency-Key", "Carry the request out once for this key");
    let steering: &[(&str, &str)] = match method {
        HttpMethod::Get if is_steered(tag) => {
            &[("If-None-Match", "Answer 304 if the tag is still this")]
        }
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Delete
            if [SERVER, LIVE].contains(&tag) =>
        {
            &[ONCE]
        }
        _ if !is_steered(tag) => &[],
        HttpMethod::Post if !is_of_a_record => &[ONCE],
        _ => &[
            ONCE,
            ("If-Match", "Carry it out only if the record's tag is still this"),
            ("If-None-Match", "Carry it out only if the record's tag is none of these"),
        ],
    };
    steering.iter().map(|(name, description)| header_parameter(name, description))
}

pub(super) fn header_parameter(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// The headers of what all endpoints of a group answer when it worked, by name and meaning.
pub(super) fn told(
    method: &HttpMethod,
    tag: &str,
    shows_record: bool,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let reads = matches!(method, HttpMethod::Get | HttpMethod::Head | HttpMethod::Options);
    let is_read = reads && is_steered(tag);
    let is_written = !reads && (is_steered(tag) || tag == UPLOADS);
    [
        ("ETag", "Names the state that is shown", is_read || is_written && shows_record),
        (
            "X-Position",
            "How far the log has come with it, or where it stood",
            is_read || is_written,
        ),
        ("X-Read-Model", "`behind` if readers do not see that position yet", is_read || is_written),
        (
            "X-Parked-From",
            "The position of an event that cannot be read or applied: from there on what happened to the record is missing here",
            is_read && shows_record,
        ),
        ("Idempotency-Replayed", "`true` if it had been carried out for this key before", !reads),
    ]
    .into_iter()
    .filter_map(|(name, meaning, is_so)| is_so.then_some((name, meaning)))
}

/// A header of an answer.
pub(super) fn header(description: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(text).description(Some(description)).build()
}
