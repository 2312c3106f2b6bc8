//! One table for routes and their description: an endpoint gets into the router only together with its place in the
//! OpenAPI document, so the two cannot differ.

mod headers;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter};
use domain::Kind;
use serde_json::{Value, json};
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{
    ArrayBuilder, ContentBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
    Type,
};
use utoipa_axum::router::OpenApiRouter;

use self::headers::{header_parameter, header_parameters, told};
use crate::app::App;
use crate::schemas::{body_name, schema_name};

/// The group of what is about the server and not about its records.
pub const SERVER: &str = "Server";

/// The group of those who follow the log as it grows.
pub const LIVE: &str = "Live";

/// The group of recordings on their way, and of what was recorded.
pub const UPLOADS: &str = "Uploads";

/// The group of pages for people.
pub const PAGES: &str = "Pages";

/// What an endpoint answers, or takes as its body.
#[derive(Clone, Debug)]
pub enum Content {
    /// A record.
    Record(Kind),
    /// A record, or another object where there is none, or none was asked for.
    RecordOrOther(Kind),
    /// Some of a record's attributes.
    Attributes(Kind),
    /// A list of records.
    List(Kind),
    /// Some other object, by an example.
    Example(Value),
    /// A stream of server-sent events, by an example of one.
    Events(Value),
    /// A picture.
    Picture,
    /// A recording.
    Audio,
    /// Whatever bytes.
    Binary,
    /// No body.
    Nothing,
    /// Plain text.
    Text,
    /// A page for people.
    Page,
}

impl Content {
    fn schema(&self) -> RefOr<Schema> {
        match self {
            Content::Record(kind) => Ref::from_schema_name(schema_name(*kind)).into(),
            Content::RecordOrOther(kind) => Schema::AnyOf(
                AnyOfBuilder::new()
                    .item(Ref::from_schema_name(schema_name(*kind)))
                    .item(ObjectBuilder::new().schema_type(Type::Object))
                    .build(),
            )
            .into(),
            Content::Attributes(kind) => Ref::from_schema_name(body_name(*kind)).into(),
            Content::List(kind) => {
                ArrayBuilder::new().items(Ref::from_schema_name(schema_name(*kind))).build().into()
            }
            Content::Example(Value::Array(_)) => {
                ArrayBuilder::new().items(ObjectBuilder::new().build()).build().into()
            }
            Content::Example(_) | Content::Events(_) => {
                ObjectBuilder::new().schema_type(Type::Object).build().into()
            }
            Content::Picture
            | Content::Audio
            | Content::Binary
            | Content::Nothing
            | Content::Text
            | Content::Page => ObjectBuilder::new().schema_type(Type::String).build().into(),
        }
    }

    fn media_type(&self) -> &'static str {
        match self {
            Content::Picture => "image/*",
            Content::Audio => "audio/*",
            Content::Binary => "application/octet-stream",
            Content::Text => "text/plain",
            Content::Page => "text/html",
            Content::Events(_) => "text/event-stream",
            _ => "application/json",
        }
    }

    fn build(&self) -> utoipa::openapi::Content {
        let example = match self {
            Content::Example(example) | Content::Events(example) => Some(example.clone()),
            _ => None,
        };
        ContentBuilder::new().schema(Some(self.schema())).example(example).build()
    }
}

/// A handler with its method and its description.
pub struct Endpoint {
    method: HttpMethod,
    handler: MethodRouter<App>,
    summary: &'static str,
    answers: Content,
    takes: Option<Content>,
    parameters: Vec<Parameter>,
    is_strict: bool,
    success: &'static str,
    others: Vec<(&'static str, &'static str)>,
    told: Vec<(&'static str, &'static str)>,
}

/// Answers GET.
pub fn get<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Get, MethodFilter::GET, summary, answers, handler)
}

/// Answers GET about records, also as they were at an earlier position.
pub fn read<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    get(summary, answers, handler).query(
        "as_of",
        false,
        "What it was at this position or time: a number, a date (its end, in UTC) or a date and time (UTC without an offset)",
    )
    .strict()
}

/// Answers POST.
pub fn post<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Post, MethodFilter::POST, summary, answers, handler)
}

/// Answers PUT.
pub fn put<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Put, MethodFilter::PUT, summary, answers, handler)
}

/// Answers PATCH.
pub fn patch<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Patch, MethodFilter::PATCH, summary, answers, handler)
}

/// Answers HEAD.
pub fn head<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Head, MethodFilter::HEAD, summary, answers, handler)
}

/// Answers OPTIONS.
pub fn options<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Options, MethodFilter::OPTIONS, summary, answers, handler)
}

/// Answers DELETE.
pub fn delete<H: Handler<T, App>, T: 'static>(
    summary: &'static str,
    answers: Content,
    handler: H,
) -> Endpoint {
    Endpoint::new(HttpMethod::Delete, MethodFilter::DELETE, summary, answers, handler)
}

impl Endpoint {
    fn new<H: Handler<T, App>, T: 'static>(
        method: HttpMethod,
        filter: MethodFilter,
        summary: &'static str,
        answers: Content,
        handler: H,
    ) -> Self {
        let handler = axum::routing::on(filter, handler);
        Self {
            method,
            handler,
            summary,
            answers,
            takes: None,
            parameters: Vec::new(),
            is_strict: false,
            success: "200",
            others: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The status of what went well, if that is not 200.
    pub fn succeeds(self, success: &'static str) -> Self {
        Self { success, ..self }
    }

    /// Another status that it may answer, and what that means.
    pub fn or(mut self, status: &'static str, meaning: &'static str) -> Self {
        self.others.push((status, meaning));
        self
    }

    /// The body that it takes.
    pub fn takes(self, content: Content) -> Self {
        Self { takes: Some(content), ..self }
    }

    /// A parameter in the query.
    pub fn query(mut self, name: &str, required: bool, description: &str) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(if required { Required::True } else { Required::False })
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build();
        self.parameters.push(parameter);
        self
    }

    /// Says that a parameter of no meaning is refused by 400.
    pub fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }

    /// A header that steers it.
    pub fn header(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(header_parameter(name, description));
        self
    }

    /// A header of the answer when it worked, beside those that all of its group have.
    pub fn tells(mut self, name: &'static str, description: &'static str) -> Self {
        self.told.push((name, description));
        self
    }

    /// What it may answer where it does not do what it was asked for: the statuses, and what each is called.
    fn refusals(
        &self,
        tag: &str,
        path: &str,
    ) -> impl Iterator<Item = (&'static str, &'static str)> {
        let reads = matches!(self.method, HttpMethod::Get | HttpMethod::Head | HttpMethod::Options);
        let (is_of_one, has_body) = (path.contains('{'), self.takes.is_some());
        let is_steered = is_steered(tag);
        [
            ("304", "NotModified", self.method == HttpMethod::Get && is_steered),
            ("400", "BadParameter", self.is_strict || !reads),
            ("403", "Forbidden", !reads),
            ("404", "NotFound", is_of_one),
            ("409", "Conflict", !reads),
            ("410", "Erased", is_of_one || !reads),
            ("412", "Outdated", !reads && is_of_one || tag == UPLOADS),
            ("413", "TooLarge", has_body),
            ("415", "Encoded", has_body && !self.others.iter().any(|(status, _)| *status == "415")),
            ("422", "Invalid", true),
            ("503", "Unavailable", tag != SERVER),
            ("default", "Otherwise", true),
        ]
        .into_iter()
        .filter_map(|(status, name, is_so)| is_so.then_some((status, name)))
    }

    fn operation(&self, tag: &str, path: &str) -> OperationBuilder {
        let method = format!("{:?}", MethodName(&self.method)).to_lowercase();
        let id = format!("{method}{}", path.replace(['/', '-'], "_").replace(['{', '}'], ""));
        let ids = path_parameters(path).map(|name| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(path_schema(name)))
                .build()
        });
        let steering = header_parameters(&self.method, tag, path.contains('{'));
        let body = self.takes.as_ref().map(|content| {
            RequestBodyBuilder::new()
                .content(content.media_type(), content.build())
                .required(Some(Required::True))
                .build()
        });
        let mut operation = OperationBuilder::new()
            .tag(tag)
            .summary(Some(self.summary))
            .operation_id(Some(id))
            .parameters(Some(ids.chain(self.parameters.iter().cloned()).chain(steering)))
            .request_body(body)
            .response(self.success, self.worked(tag, "It worked.", &self.answers));
        for (status, meaning) in &self.others {
            let other = match status.starts_with('2') {
                true => self.worked(tag, meaning, &Content::Nothing),
                false => json_response(meaning, &Content::Nothing),
            };
            operation = operation.response(*status, other);
        }
        for (status, name) in self.refusals(tag, path) {
            operation = operation.response(status, Ref::from_response_name(name));
        }
        operation
    }

    fn worked(&self, tag: &str, meaning: &str, content: &Content) -> utoipa::openapi::Response {
        let shows_record = matches!(self.answers, Content::Record(_) | Content::RecordOrOther(_));
        let told = told(&self.method, tag, shows_record).chain(self.told.iter().copied());
        let response = json_response(meaning, content);
        told.fold(response, |mut response, (name, description)| {
            response.headers.insert(name.to_owned(), headers::header(description));
            response
        })
    }
}

/// Whether the requests of a group are steered by headers: only what is about records is.
fn is_steered(tag: &str) -> bool {
    ![SERVER, LIVE, UPLOADS, PAGES].contains(&tag)
}

/// `HttpMethod` has no text of its own.
struct MethodName<'a>(&'a HttpMethod);

impl std::fmt::Debug for MethodName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            HttpMethod::Get => "get",
            HttpMethod::Post => "post",
            HttpMethod::Put => "put",
            HttpMethod::Delete => "delete",
            HttpMethod::Patch => "patch",
            HttpMethod::Head => "head",
            HttpMethod::Options => "options",
            _ => "other",
        })
    }
}

/// A response with a JSON body.
pub fn json_response(description: &str, content: &Content) -> utoipa::openapi::Response {
    if matches!(content, Content::Nothing) {
        return ResponseBuilder::new().description(description).build();
    }
    ResponseBuilder::new()
        .description(description)
        .content(content.media_type(), content.build())
        .build()
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_schema(name: &str) -> ObjectBuilder {
    let schema = ObjectBuilder::new();
    if name.ends_with("_id") {
        schema.schema_type(Type::Integer).examples([json!(1)])
    } else {
        schema.schema_type(Type::String)
    }
}

/// The routes of one group, each with its description.
pub struct Routes {
    tag: &'static str,
    router: OpenApiRouter<App>,
}

impl Routes {
    /// No routes yet, in the group of this name.
    pub fn tagged(tag: &'static str) -> Self {
        Self { tag, router: OpenApiRouter::new() }
    }

    /// Adds a path with its endpoints.
    pub fn at<const N: usize>(mut self, path: &'static str, endpoints: [Endpoint; N]) -> Self {
        for endpoint in endpoints {
            let operation = endpoint.operation(self.tag, path);
            let item = PathItem::new(endpoint.method, operation);
            let paths = PathsBuilder::new().path(path, item).build();
            self.router = self.router.routes((Vec::new(), paths, endpoint.handler));
        }
        self
    }

    /// The router with the document of its routes.
    pub fn finish(self) -> OpenApiRouter<App> {
        self.router
    }
}
