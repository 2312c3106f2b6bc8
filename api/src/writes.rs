//! From a command to the answer that shows what it did.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{Contact, Field, Kind, LpId, Record, RecordRef, Subject};
use projections::log::{CommandError, CommandRequest, Executable, Receipt};
use projections::read::{ReadError, StoredRecord, Then};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::answers::{
    Comparison, PATIENCE, POSITION, READ_MODEL, names_tag, not_found, record_etag,
};
use crate::app::App;
use crate::body::Members;
use crate::caller::Caller;
use crate::form::{Form, Occasion};
use crate::json;
use crate::problem::Problem;

/// An aggregate that has routes.
pub trait Resource: Executable<Command: Clone + Send> {
    /// Its record on the wire.
    type Record: Record;

    /// The command that removes it from use.
    fn archive() -> Self::Command;

    /// The command that makes it, as readers see it here, what it was.
    fn revert(&self, to: Self) -> Self::Command;

    /// The record, if it is of this kind.
    fn of(subject: Subject) -> Option<Self>;
}

macro_rules! resources {
    ($($module:ident::$Aggregate:ident / $Record:ident / $Command:ident),* $(,)?) => {
        $(impl Resource for domain::$module::$Aggregate {
            type Record = domain::$module::$Record;
            fn archive() -> Self::Command {
                domain::$module::$Command::Archive
            }
            fn revert(&self, to: Self) -> Self::Command {
                self.reversion(to)
            }
            fn of(subject: Subject) -> Option<Self> {
                match subject {
                    Subject::$Aggregate(stage) => Some(stage),
                    _ => None,
                }
            }
        })*
    };
}

resources! {
    lp::Lp / LpRecord / LpCommand,
    gp::Gp / GpRecord / GpCommand,
    distributor::Distributor / DistributorRecord / DistributorCommand,
    person::Person / PersonRecord / PersonCommand,
    fund::Fund / FundRecord / FundCommand,
    note::Note / NoteRecord / NoteCommand,
    todo::Todo / TodoRecord / TodoCommand,
    roadshow::Roadshow / RoadshowRecord / RoadshowCommand,
}

/// Which kind of record an aggregate is.
pub fn kind_of<A: Resource>() -> Kind {
    <A::Record as Record>::KIND
}

/// A command that has been carried out and, unless it says so, can be seen.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it was about.
    pub record: RecordRef,
    /// Whether it recorded anything.
    pub changed: bool,
    position: i64,
    is_behind: bool,
}

/// Carries out a command and waits until readers see it. With `version`, only if the record has that version. A command
/// of a repeated request was carried out already.
///
/// # Errors
/// Whatever keeps the command from being carried out.
pub async fn execute<A: Resource>(
    app: &App,
    caller: &Caller,
    id: i64,
    name: &'static str,
    command: A::Command,
    version: Option<i64>,
) -> Result<Written, Problem> {
    let record = kind_of::<A>().record(id);
    let sent = send::<A>(app, caller, id, name, command, version).await;
    sent.map_err(|error| Problem::of_command(error, record))
}

/// As [`execute`], for those that know what to do about a refusal.
///
/// # Errors
/// Whatever keeps the command from being carried out.
pub async fn send<A: Resource>(
    app: &App,
    caller: &Caller,
    id: i64,
    name: &'static str,
    command: A::Command,
    version: Option<i64>,
) -> Result<Written, CommandError> {
    let request = CommandRequest { if_match: version, ..caller.request(name) };
    let receipt = match caller.earlier() {
        Some(earlier) => earlier,
        None => app.log.execute::<A>(id, command, &request).await?,
    };
    Ok(Written::of::<A>(app, receipt).await)
}

/// Registers a record under a fresh id and answers with its row.
///
/// # Errors
/// Whatever keeps the command from being carried out.
pub async fn register<A: Resource>(
    app: &App,
    caller: &Caller,
    command: A::Command,
    form: &Form,
) -> Result<Response, Problem> {
    let receipt = match caller.earlier() {
        Some(earlier) => earlier,
        None => {
            let registered = app.log.register::<A>(command, &caller.request("Register")).await;
            registered.map_err(|error| Problem::of_command(error, kind_of::<A>().record(0)))?
        }
    };
    Written::of::<A>(app, receipt).await.row::<A>(app, form).await
}

/// One attribute of a row; `None` when it is null, or there is no row.
///
/// # Errors
/// [`Problem::Internal`] if it has another type.
pub fn attribute<T: DeserializeOwned>(
    row: Option<&StoredRecord>,
    name: &str,
) -> Result<Option<T>, Problem> {
    let Some(row) = row else { return Ok(None) };
    let value = row.value()?.get_mut(name).map(Value::take).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| Problem::Internal(error.into()))
}

/// The members of a PUT's body but for required attributes that are sent as null and are null already: an imported
/// record may lack them, and a client that sends it back has not cleared them. Nor had a repeated request, then.
///
/// # Errors
/// When the read model does not answer.
pub async fn without_known_nulls<A: Resource>(
    app: &App,
    caller: &Caller,
    id: i64,
    mut members: Members,
) -> Result<Members, Problem> {
    let clears = |(name, value): &(String, json::Json)| {
        *value == json::Json::Null && <A::Record as Record>::REQUIRED.contains(&name.as_str())
    };
    if caller.earlier().is_some() {
        members.retain(|member| !clears(member));
    } else if members.iter().any(clears)
        && let Some(row) = standing(app, kind_of::<A>().record(id)).await?
    {
        let row = row.value()?;
        members.retain(|member| !(clears(member) && row[member.0.as_str()].is_null()));
    }
    Ok(members)
}

/// The record that a write is about, as readers see it, if `If-Match` and `If-None-Match` allow the change. The version is
/// there when the client set such a condition. A repeated request has met it already, and there need no longer be a record.
///
/// # Errors
/// [`Problem::NotFound`], [`Problem::Parked`], [`Problem::Erased`], [`Problem::Outdated`] when the client knows another state, or
/// [`Problem::AsNamed`] when it knows this one and wants another.
pub async fn current(
    app: &App,
    caller: &Caller,
    record: RecordRef,
) -> Result<(Option<StoredRecord>, Option<i64>), Problem> {
    if caller.earlier().is_some() {
        return Ok((standing(app, record).await?, None));
    }
    let stored = present(app, record).await?;
    if let Some(tags) = &caller.if_match
        && !names_tag(tags, &stored.tag, Comparison::Strong)
    {
        return Err(Problem::Outdated);
    }
    if let Some(tags) = &caller.if_none_match
        && names_tag(tags, &stored.tag, Comparison::Weak)
    {
        return Err(Problem::AsNamed);
    }
    let version = caller.is_conditional().then_some(stored.version);
    Ok((Some(stored), version))
}

/// A record as it stands after all writes that were answered before: its row, or what its events make while its table is
/// behind them.
///
/// # Errors
/// [`Problem::NotFound`], [`Problem::Parked`] or [`Problem::Erased`], or when the database does not answer.
async fn present(app: &App, record: RecordRef) -> Result<StoredRecord, Problem> {
    if !app.is_level(&[record.kind().as_str()]).await {
        return match app.reader.record_now(record).await? {
            Then::There(stored) => Ok(stored),
            Then::Erased(_) => Err(Problem::Erased(record.kind())),
            Then::NotYet(_) | Then::Deleted(_) | Then::Never => Err(not_found(app, record).await),
        };
    }
    match app.reader.record(record).await? {
        Some(stored) => Ok(stored),
        None => Err(absent(app, record).await),
    }
}

/// As [`current`], without a condition; `None` if there is no such record in use.
///
/// # Errors
/// When the database does not answer.
pub async fn standing(app: &App, record: RecordRef) -> Result<Option<StoredRecord>, Problem> {
    match present(app, record).await {
        Ok(stored) => Ok(Some(stored)),
        Err(Problem::NotFound(_) | Problem::Parked(..) | Problem::Erased(_)) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Why a record that readers do not see cannot be written.
async fn absent(app: &App, record: RecordRef) -> Problem {
    match app.reader.is_erased(record).await {
        Ok(true) => Problem::Erased(record.kind()),
        Ok(false) => not_found(app, record).await,
        Err(error) => error.into(),
    }
}

/// The version that the request's conditions ask for, of a record that must be there before anything else is looked at.
///
/// # Errors
/// As [`current`].
pub async fn writable(
    app: &App,
    caller: &Caller,
    record: RecordRef,
) -> Result<Option<i64>, Problem> {
    Ok(current(app, caller, record).await?.1)
}

/// The version that the request's conditions ask for. Without any the log alone knows whether the record is there, and
/// nothing is read.
///
/// # Errors
/// As [`current`].
pub async fn condition(
    app: &App,
    caller: &Caller,
    record: RecordRef,
) -> Result<Option<i64>, Problem> {
    match caller.is_conditional() {
        true => Ok(current(app, caller, record).await?.1),
        false => Ok(None),
    }
}

/// Where the log ends, whichever server has written last; as far as this one knows if the database does not say.
async fn end_of_log(app: &App) -> i64 {
    let known = *app.log.head().borrow();
    let database = app.log.database();
    let asking = sqlx::query_scalar("select coalesce(max(position), 0) from events");
    let end: Result<i64, _> = database.ask(asking.fetch_one(&database.pool)).await;
    end.map_or(known, |end| end.max(known))
}

impl Written {
    /// What a receipt is for, once readers see it or have been waited for in vain.
    pub async fn of<A: Resource>(app: &App, Receipt { id, position, .. }: Receipt) -> Self {
        let until = match position {
            Some(position) => position,
            // What changed nothing was judged by all that the log had, of which readers may not see the end yet.
            None => end_of_log(app).await.max(app.reader.position()),
        };
        Self {
            record: kind_of::<A>().record(id),
            changed: position.is_some(),
            position: until,
            is_behind: !app.reader.reached(until, PATIENCE).await,
        }
    }

    /// The row that the write has led to. Whatever keeps it from being shown, it is recorded, so the client must not send
    /// it again: there is always an answer.
    ///
    /// # Errors
    /// Never; it is what handlers give.
    pub async fn row<A: Resource>(self, app: &App, form: &Form) -> Result<Response, Problem> {
        Ok(match self.outcome(app).await {
            Outcome::Seen(stored) => self.seen_row(stored),
            Outcome::Recorded(stored) => self.recorded_row(stored),
            Outcome::Gone | Outcome::Unknown => {
                let row = sent_row(self.record.id(), <A::Record as Record>::fields(), form);
                self.provisional(row)
            }
        })
    }

    /// What has become of the record.
    pub async fn outcome(&self, app: &App) -> Outcome {
        let table = [self.record.kind().as_str()];
        let is_shown =
            !self.is_behind || app.reader.are_level(&table, self.position, Duration::ZERO).await;
        let seen = match is_shown {
            true => app.reader.record(self.record).await,
            // Readers do not see it yet. They will, under this tag.
            false => app.reader.record_now(self.record).await.map(Then::there),
        };
        match seen {
            Ok(Some(stored)) => return Outcome::Seen(stored),
            // Somebody else has removed the record since.
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "readers do not see what is recorded"),
        }
        // Nothing recorded means that the record was then as it is now.
        let until = if self.changed { self.position } else { i64::MAX };
        match app.reader.record_then(self.record, until).await {
            Ok(Then::There(stored)) => Outcome::Recorded(stored),
            Ok(_) => Outcome::Gone,
            Err(error) => {
                tracing::warn!(%error, "what is recorded cannot be shown now");
                Outcome::Unknown
            }
        }
    }

    /// Answers with a row that readers see.
    pub fn seen_row(self, stored: StoredRecord) -> Response {
        let mut headers = self.row_headers();
        if let Some(etag) = record_etag(&stored.tag) {
            headers.insert(header::ETAG, etag);
        }
        (StatusCode::OK, headers, stored.json).into_response()
    }

    /// Answers with a row of which readers do not see the like, so that it has no tag that they would know.
    pub fn recorded_row(self, stored: StoredRecord) -> Response {
        (StatusCode::OK, self.row_headers(), stored.json).into_response()
    }

    /// Answers with what is known of a record that cannot be shown: what is left out is unknown.
    pub fn provisional(self, known: Value) -> Response {
        let headers = Self { is_behind: true, ..self }.row_headers();
        let mut response = (StatusCode::OK, headers, known.to_string()).into_response();
        response.extensions_mut().insert(Provisional);
        response
    }

    /// Answers with how an LP stands to the record: as readers see it, or else as it was sent.
    pub fn standing(
        self,
        seen: Result<Option<Value>, ReadError>,
        sent: Value,
        contact: Option<Contact>,
    ) -> Response {
        match (seen, contact) {
            (Ok(Some(standing)), _) if !self.is_behind => self.answer(standing),
            (_, Some(Contact { date, note })) => {
                let mut standing = sent;
                standing["last_contact_date"] = json!(date.map(|date| date.to_string()));
                standing["latest_note_id"] = json!(note.map(|note| note.0));
                self.answer(standing)
            }
            // The contact that was known stays, whichever it is.
            (_, None) => self.provisional(sent),
        }
    }

    fn row_headers(&self) -> HeaderMap {
        let mut headers = self.headers();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }

    /// Some other body, about the same write.
    pub fn answer(self, body: Value) -> Response {
        (StatusCode::OK, self.headers(), Json(body)).into_response()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(POSITION, HeaderValue::from(self.position));
        if self.is_behind {
            headers.insert(READ_MODEL, HeaderValue::from_static("behind"));
        }
        headers
    }
}

/// What has become of a record that was written.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Readers see it, or will, under this tag.
    Seen(StoredRecord),
    /// Readers do not see it, or not so; the log has it.
    Recorded(StoredRecord),
    /// It is not in use.
    Gone,
    /// Neither can be asked now.
    Unknown,
}

/// Marks an answer that does not say all, so that no repetition of its request is answered with it.
#[derive(Clone, Copy, Debug)]
pub struct Provisional;

/// What is known of a row without looking: of a new one everything, of an older one what was sent. Whatever stands in a
/// file is left out.
fn sent_row(id: i64, fields: impl Iterator<Item = &'static Field>, form: &Form) -> Value {
    let mut row = Map::from_iter([("id".to_owned(), id.into())]);
    for field in fields {
        match form.sent().get(field.name) {
            Some(Value::Object(_)) => {}
            Some(sent) => _ = row.insert(field.name.to_owned(), sent.clone()),
            None if form.occasion() == Occasion::Register => {
                row.insert(field.name.to_owned(), Value::Null);
            }
            None => {}
        }
    }
    Value::Object(row)
}

/// Checks that records exist which a path names; for a repeated request they did.
///
/// # Errors
/// [`Problem::NotFound`] or [`Problem::Parked`] for the first that does not.
pub async fn check_exist(app: &App, caller: &Caller, records: &[RecordRef]) -> Result<(), Problem> {
    if caller.earlier().is_some() {
        return Ok(());
    }
    let missing = missing(app, records).await?;
    match records.iter().find(|record| missing.contains(record)) {
        Some(record) => Err(not_found(app, *record).await),
        None => Ok(()),
    }
}

/// Which of these records are not in use, after all writes that were answered before.
///
/// # Errors
/// When the database does not answer.
pub async fn missing(app: &App, records: &[RecordRef]) -> Result<Vec<RecordRef>, Problem> {
    let tables: BTreeSet<&'static str> = records.iter().map(|it| it.kind().as_str()).collect();
    let missing = match app.is_level(&Vec::from_iter(tables)).await {
        true => app.reader.missing(records).await?,
        false => app.reader.missing_in_log(records).await?,
    };
    Ok(missing)
}

/// Checks that readers see a record.
///
/// # Errors
/// [`Problem::NotFound`] or [`Problem::Parked`].
pub async fn check_shown(app: &App, record: RecordRef) -> Result<(), Problem> {
    match app.reader.missing(&[record]).await?.is_empty() {
        true => Ok(()),
        false => Err(not_found(app, record).await),
    }
}

/// The last contact with an LP about a fund or roadshow, as the notes have it.
///
/// # Errors
/// When the read models are behind or do not answer.
pub async fn contact(app: &App, owner: RecordRef, lp: LpId) -> Result<Option<Contact>, Problem> {
    app.level(&["link", "note"]).await?;
    Ok(app.reader.newest_common_note(owner, lp).await?)
}

/// An answer about a write that there was nothing to do for.
pub fn nothing_recorded(app: &App, body: Value) -> Response {
    let position = app.reader.position();
    ([(POSITION, HeaderValue::from(position))], Json(body)).into_response()
}
