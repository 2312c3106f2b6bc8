//! `/todos`: what is to be done, once or again and again.

use axum::extract::State;
use axum::response::Response;
use chrono::Utc;
use domain::fund::Fund;
use domain::gp::Gp;
use domain::lp::Lp;
use domain::note::Note;
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::todo::{Todo, TodoChanges, TodoCommand, TodoRecord, TodoStatus};
use domain::{Kind, Moment, Refusal, TodoId, Verbatim};
use projections::log::CommandError;
use projections::read::{Query, TodoFilter};
use serde_json::json;

use crate::app::App;
use crate::as_of::Asked;
use crate::body::{Body, Ids, Members, Parameters, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::json::Json;
use crate::links::wanted;
use crate::problem::Problem;
use crate::resource::{linked, record_of, remove_from_use, show};
use crate::writes::{self, Written, current, execute, without_known_nulls, writable};

/// The routes of todos.
pub fn routes() -> Routes {
    let deleted = Content::Example(json!({"success": true, "message": "Todo deleted"}));
    let links = json!({"lp_ids": [1], "gp_ids": [], "person_ids": [], "fund_ids": [1],
        "roadshow_ids": [], "note_ids": []});
    Routes::tagged("Todos")
        .at(
            "/todos",
            [
                read(
                    "All todos that pass the filters, by due date",
                    Content::List(Kind::Todo),
                    list,
                )
                .query("status", false, "Exactly this status")
                .query("priority", false, "Exactly this priority")
                .query("tag", false, "Part of the tags")
                .query("due_before", false, "Due before this date")
                .query("due_after", false, "Due on this date or after it"),
                post("Registers a todo", Content::Record(Kind::Todo), register)
                    .takes(Content::Attributes(Kind::Todo)),
            ],
        )
        .at(
            "/todos/{todo_id}",
            [
                read("One todo", Content::Record(Kind::Todo), show::<Todo>),
                put("Changes or completes a todo", Content::Record(Kind::Todo), revise)
                    .takes(Content::Attributes(Kind::Todo)),
                delete("Removes a todo from use", deleted, archive),
            ],
        )
        .at(
            "/todos/{todo_id}/relationships",
            [post(
                "Replaces all links",
                Content::Example(json!({"success": true, "todo_id": 1})),
                relate,
            )
            .takes(Content::Example(links))],
        )
        .at("/todos/{todo_id}/lps", [read("Its LPs", Content::List(Kind::Lp), linked::<Todo, Lp>)])
        .at("/todos/{todo_id}/gps", [read("Its GPs", Content::List(Kind::Gp), linked::<Todo, Gp>)])
        .at(
            "/todos/{todo_id}/people",
            [read("Its people", Content::List(Kind::Person), linked::<Todo, Person>)],
        )
        .at(
            "/todos/{todo_id}/funds",
            [read("Its funds", Content::List(Kind::Fund), linked::<Todo, Fund>)],
        )
        .at(
            "/todos/{todo_id}/roadshows",
            [read("Its roadshows", Content::List(Kind::Roadshow), linked::<Todo, Roadshow>)],
        )
        .at(
            "/todos/{todo_id}/notes",
            [read("Its notes", Content::List(Kind::Note), linked::<Todo, Note>)],
        )
}

async fn list(
    State(app): State<App>,
    parameters: Parameters,
    asked: Asked,
) -> Result<Response, Problem> {
    // An empty parameter is no filter.
    let filter =
        |name: &str| parameters.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let filter = TodoFilter {
        status: filter("status"),
        priority: filter("priority"),
        tag: filter("tag"),
        due_before: filter("due_before"),
        due_after: filter("due_after"),
    };
    // Without a filter it is the whole list, which is kept ready.
    let query = if filter.is_empty() { Query::List(Kind::Todo) } else { Query::Todos(filter) };
    asked.answer(&app, query).await
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = titled(body.into_members(Shape::Model)?);
    let form = Form::read::<TodoRecord>(&members, Occasion::Register)?;
    let command = TodoCommand::Register {
        title: form.require("title")?,
        status: form.require("status")?,
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Todo>(&app, &caller, command, &form).await
}

/// The meeting screen sends action items with a description only: its first line is the title.
fn titled(mut members: Members) -> Members {
    let has_title = members.iter().any(|(name, value)| name == "title" && *value != Json::Null);
    let description = members.iter().find_map(|(name, value)| match value {
        Json::Text(text) if name == "description" => Some(text.trim()),
        _ => None,
    });
    if let (false, Some(line)) = (has_title, description.and_then(|text| text.lines().next())) {
        let title = Json::Text(line.trim_end().to_owned());
        members.retain(|(name, _)| name != "title");
        members.push(("title".to_owned(), title));
    }
    members
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members =
        without_known_nulls::<Todo>(&app, &caller, id, body.into_members(Shape::Model)?).await?;
    let form = Form::read::<TodoRecord>(&members, Occasion::Revise)?;
    let (_, version) = current(&app, &caller, record_of::<Todo>(id)).await?;
    let status: Option<TodoStatus> = form.get("status")?;
    let written = match status {
        Some(TodoStatus::Completed) => complete(&app, &caller, id, &form, version).await?,
        status => {
            let (title, changes) = (form.get("title")?, form.changes()?);
            let command = TodoCommand::Revise { title, status, changes };
            execute::<Todo>(&app, &caller, id, "Revise", command, version).await?
        }
    };
    written.row::<Todo>(&app, &form).await
}

/// Whether another todo follows is known when the command is decided, not before: only then is an id drawn for it.
async fn complete(
    app: &App,
    caller: &Caller,
    id: i64,
    form: &Form,
    version: Option<i64>,
) -> Result<Written, Problem> {
    let (title, changes): (Option<String>, TodoChanges) = (form.get("title")?, form.changes()?);
    let at = Moment::from(Utc::now().naive_utc());
    let send = async |next| {
        let (title, changes) = (title.clone(), changes.clone());
        let command = TodoCommand::Complete { title, changes, at, next };
        writes::send::<Todo>(app, caller, id, "Complete", command, version).await
    };
    let problem = |error| Problem::of_command(error, record_of::<Todo>(id));
    let mut sent = send(None).await;
    // Again with another id if an import was faster to use the one that was drawn.
    while let Err(CommandError::Refused(Refusal::NextIdMissing)) = sent {
        let next = app.log.fresh_id(Kind::Todo).await.map_err(problem)?;
        sent = send(Some(TodoId(next))).await;
    }
    sent.map_err(problem)
}

async fn archive(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let written = remove_from_use::<Todo>(&app, &caller, id).await?;
    Ok(written.answer(json!({"success": true, "message": "Todo deleted"})))
}

/// Every list counts; one that is absent means none.
async fn relate(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    const LISTS: [(&str, Kind); 6] = [
        ("lp_ids", Kind::Lp),
        ("gp_ids", Kind::Gp),
        ("person_ids", Kind::Person),
        ("fund_ids", Kind::Fund),
        ("roadshow_ids", Kind::Roadshow),
        ("note_ids", Kind::Note),
    ];
    let lists = body.into_lists(LISTS.map(|(name, _)| name))?;
    let version = writable(&app, &caller, record_of::<Todo>(id)).await?;
    let all = LISTS.into_iter().zip(lists);
    let all = all.map(|((name, kind), ids)| (name, kind, Some(ids.unwrap_or_default())));
    let wanted = wanted(&app, &caller, all).await?;
    let command = TodoCommand::Relink { kinds: wanted.kinds, to: wanted.to };
    let written = execute::<Todo>(&app, &caller, id, "Relink", command, version).await?;
    Ok(written.answer(json!({"success": true, "todo_id": id})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_description_stands_in_for_a_title() {
        let check = |body: &str, expected: Option<&str>| {
            let members = titled(crate::json::parse(body).unwrap().into_members().unwrap());
            let title =
                members.into_iter().find(|(name, _)| name == "title").map(|(_, value)| value);
            assert_eq!(title, expected.map(|text| Json::Text(text.into())), "{body}");
        };
        check(r#"{"description": "Call Ana\nabout fees", "note_id": 1}"#, Some("Call Ana"));
        check(r#"{"description": "\n Call Ana \r\nabout fees", "title": null}"#, Some("Call Ana"));
        check(r#"{"description": "x", "title": ""}"#, Some(""));
        check(r#"{"description": "  "}"#, None);
        check(r#"{"description": 5}"#, None);
    }
}
