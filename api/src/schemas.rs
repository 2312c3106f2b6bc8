//! The OpenAPI document: what all endpoints have in common, and the schemas of the eight kinds of records.

use domain::distributor::DistributorRecord;
use domain::fund::FundRecord;
use domain::gp::GpRecord;
use domain::lp::LpRecord;
use domain::note::NoteRecord;
use domain::person::PersonRecord;
use domain::roadshow::RoadshowRecord;
use domain::todo::TodoRecord;
use domain::{Field, FieldKind, Kind, Record};
use serde_json::{Value, json};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, KnownFormat, ObjectBuilder, OpenApi, OpenApiBuilder, Schema,
    SchemaFormat, Type,
};

use crate::describe::{Content, json_response};

const DESCRIPTION: &str = "\
A record answers with every attribute, `null` where there is none. PUT changes only what the body names; `null` clears.

* **ETag, If-None-Match, If-Match**: a reader that has the newest state gets 304; any write to a record with `If-Match` \
is refused with 412 when somebody else was faster, with `If-None-Match` when the record has that tag (`*`: any); for a \
recording the tag is that of its note.
* **X-Position**: every write tells how far the log has come; `X-Min-Position` (or `?min_position=`) makes a reader \
wait until it sees that position. `X-Read-Model: behind` says that it does not see it yet. `X-Parked-From` on a record names an event that cannot be read or \
applied, and without which, and without all that came after it, the record is shown.
* **Idempotency-Key**: a POST, PUT or DELETE with the same key is carried out once, however often it is sent.
* **X-Request-Id**: a UUID here names the request in the log and in the history of what it changed.";

/// The name of a record's schema.
pub fn schema_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Lp => "LP",
        Kind::Gp => "GP",
        Kind::Distributor => "Distributor",
        Kind::Person => "Person",
        Kind::Fund => "Fund",
        Kind::Note => "Note",
        Kind::Todo => "Todo",
        Kind::Roadshow => "Roadshow",
    }
}

/// The name of the schema of a record's body.
pub fn body_name(kind: Kind) -> String {
    format!("{}Attributes", schema_name(kind))
}

/// The document without its paths.
pub fn document() -> OpenApi {
    let mut components = ComponentsBuilder::new();
    for &kind in Kind::ALL {
        let (fields, required) = match kind {
            Kind::Lp => attributes::<LpRecord>(),
            Kind::Gp => attributes::<GpRecord>(),
            Kind::Distributor => attributes::<DistributorRecord>(),
            Kind::Person => attributes::<PersonRecord>(),
            Kind::Fund => attributes::<FundRecord>(),
            Kind::Note => attributes::<NoteRecord>(),
            Kind::Todo => attributes::<TodoRecord>(),
            Kind::Roadshow => attributes::<RoadshowRecord>(),
        };
        components = components
            .schema(schema_name(kind), record_schema(kind, &fields, required))
            .schema(body_name(kind), body_schema(kind, &fields, required));
    }
    let not_found = Content::Example(json!({"detail": "LP not found"}));
    let invalid = Content::Example(json!({"detail": [{"type": "missing", "loc": ["body", "name"],
        "msg": "Field required", "input": null}]}));
    let unavailable =
        Content::Example(json!({"detail": "The database is not available; please try again"}));
    let bad_parameter = Content::Example(
        json!({"detail": "The parameter \"limit\" is \"0\": expected is a number from 1 to 100"}),
    );
    let told = |why: &str| Content::Example(json!({ "detail": why }));
    let components = components
        .response(
            "Encoded",
            json_response(
                "The body is compressed.",
                &told("Send the body as it is, without Content-Encoding"),
            ),
        )
        .response("NotModified", json_response("The tag is still this.", &Content::Nothing))
        .response(
            "BadParameter",
            json_response("A parameter means nothing, or the body is no text.", &bad_parameter),
        )
        .response(
            "Forbidden",
            json_response(
                "A page of another origin may not write.",
                &told("Pages of other origins may not change anything here"),
            ),
        )
        .response(
            "Conflict",
            json_response(
                "It cannot be done as things stand.",
                &told("Others changed the record at the same time; please try again"),
            ),
        )
        .response(
            "Erased",
            json_response(
                "The record was erased.",
                &told("Person was erased; nothing can be done with it any more"),
            ),
        )
        .response(
            "Outdated",
            json_response(
                "The tag in If-Match is no longer the record's, or the upload speaks another tus.",
                &told("The record has changed since you read it"),
            ),
        )
        .response(
            "TooLarge",
            json_response(
                "More than the server takes.",
                &told("The body is larger than 67108864 bytes"),
            ),
        )
        .response(
            "Otherwise",
            json_response("What went wrong, for a person.", &told("The request took too long")),
        )
        .response("NotFound", json_response("There is no such record.", &not_found))
        .response(
            "Unavailable",
            json_response("The database cannot be reached; try again.", &unavailable),
        )
        .response("Invalid", json_response("The request is not as it must be.", &invalid))
        .build();
    let info = InfoBuilder::new()
        .title("crm")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

fn attributes<R: Record>() -> (Vec<&'static Field>, &'static [&'static str]) {
    (R::fields().collect(), R::REQUIRED)
}

/// What must be sent, and may be missing of records that were imported.
const LACKING: [(Kind, &str); 2] = [(Kind::Note, "name"), (Kind::Roadshow, "fund_id")];

fn record_schema(kind: Kind, fields: &[&Field], required: &[&str]) -> Schema {
    let mut example = json!({"id": 1});
    let mut schema = ObjectBuilder::new()
        .property("id", ObjectBuilder::new().schema_type(Type::Integer))
        .required("id");
    let sent = body_example(kind);
    for field in fields {
        let may_lack = !required.contains(&field.name) || LACKING.contains(&(kind, field.name));
        schema =
            schema.property(field.name, field_schema(field.kind, may_lack)).required(field.name);
        example[field.name] = sent.get(field.name).cloned().unwrap_or_default();
    }
    schema.examples([example]).build().into()
}

fn body_schema(kind: Kind, fields: &[&Field], required: &[&str]) -> Schema {
    let mut schema = ObjectBuilder::new();
    for field in fields {
        let nullable = !required.contains(&field.name);
        schema = schema.property(field.name, field_schema(field.kind, nullable));
    }
    schema.examples([body_example(kind)]).build().into()
}

fn field_schema(kind: FieldKind, nullable: bool) -> ObjectBuilder {
    let (r#type, format) = match kind {
        FieldKind::Text | FieldKind::Document => (Type::String, None),
        FieldKind::Number => (Type::Number, Some(KnownFormat::Double)),
        FieldKind::Whole => (Type::Integer, Some(KnownFormat::Int64)),
        FieldKind::Flag => (Type::Boolean, None),
        // Not RFC 3339's date-time: it has no zone.
        FieldKind::Moment => (Type::String, None),
    };
    let r#type: SchemaType = match nullable {
        true => [r#type, Type::Null].into_iter().collect(),
        false => r#type.into(),
    };
    let schema =
        ObjectBuilder::new().schema_type(r#type).format(format.map(SchemaFormat::KnownFormat));
    match kind {
        FieldKind::Moment => schema.examples([json!("2025-01-31T15:04:05")]),
        _ => schema,
    }
}

fn body_example(kind: Kind) -> Value {
    match kind {
        Kind::Lp => json!({"name": "Profuturo", "location": "Mexico City", "aum_billions": 12.5,
            "investment_low": 10.0, "investment_high": 50.0, "priority": "1", "type_of_group": "Afore"}),
        Kind::Gp => json!({"name": "Alpine Partners", "location": "Zurich",
            "flagship_strategy": "Secondaries", "distributor_id": 1}),
        Kind::Distributor => json!({"name": "Andes Placement", "headquarter": "Bogotá"}),
        Kind::Person => json!({"name": "Ana Ruiz", "email": "ana@example.com",
            "position": "Head of alternatives", "people_type": "LP"}),
        Kind::Fund => json!({"fund_name": "Alpine Secondaries IV", "status": "fundraising",
            "target_mn": 1500.0, "target_irr": "20+", "closed": false, "launch": "2025-01-31T00:00:00"}),
        Kind::Note => json!({"name": "2025_01_31_Profuturo", "date": "2025-01-31T15:04:05",
            "raw_notes": "They want to see the track record.", "summary": "Track record", "useful": true}),
        Kind::Todo => json!({"title": "Send the track record", "status": "pending",
            "priority": "high", "due_date": "2025-02-07T00:00:00", "tags": "profuturo,documents"}),
        Kind::Roadshow => json!({"name": "Lima, spring", "fund_id": 1,
            "arrival": "2025-03-10T09:00:00", "arrival_city": "Lima", "lv_flight": "Needed"}),
    }
}
