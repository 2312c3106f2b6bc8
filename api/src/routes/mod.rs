//! The HTTP API, one file per resource. Handlers are verbs.

pub mod ask;
mod audio;
mod distributors;
mod erasure;
mod events;
mod funds;
mod gps;
mod health;
mod history;
mod images;
mod lps;
mod metrics;
mod notes;
mod people;
mod projections;
mod recordings;
mod roadshows;
mod seals;
mod search;
mod todos;
mod undo;
mod uploads;
mod webhooks;

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::schemas;

/// All routes, with the document that describes them.
pub fn all() -> OpenApiRouter<App> {
    [
        lps::routes(),
        gps::routes(),
        distributors::routes(),
        people::routes(),
        funds::routes(),
        notes::routes(),
        todos::routes(),
        roadshows::routes(),
        ask::routes(),
        erasure::routes(),
        history::routes(),
        undo::routes(),
        health::routes(),
        metrics::routes(),
        images::routes(),
        projections::routes(),
        recordings::routes(),
        events::routes(),
        crate::pages::routes(),
        search::routes(),
        seals::routes(),
        webhooks::routes(),
        uploads::routes(),
        audio::routes(),
    ]
    .into_iter()
    .fold(OpenApiRouter::with_openapi(schemas::document()), |all, group| all.merge(group.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every endpoint: the first of each line is the path. What the document has and this list has not, or the other
    /// way round, is a change of the contract.
    const ENDPOINTS: &str = "\
/ask post
/audit get
/audit/assets/{file} get
/audit/causation/{id} get
/audit/refusals get
/audit/{kind}/{id} get
/audit/{kind}/{id}/changes/{position} get
/audit/{kind}/{id}/compare get
/audit/{kind}/{id}/text get
/audit/{kind}/{id}/undo get post
/distributors get post
/distributors/search get
/distributors/{distributor_id} get put delete
/distributors/{distributor_id}/compare get
/distributors/{distributor_id}/history get
/distributors/{distributor_id}/notes get
/distributors/{distributor_id}/people get
/distributors/{distributor_id}/revert post
/events get
/funds get post
/funds/search get
/funds/{fund_id} get put delete
/funds/{fund_id}/compare get
/funds/{fund_id}/history get
/funds/{fund_id}/lps/{lp_id}/interest put
/funds/{fund_id}/notes get
/funds/{fund_id}/revert post
/funds/{fund_id}/sales-funnel get
/gps get post
/gps/search get
/gps/{gp_id} get put delete
/gps/{gp_id}/compare get
/gps/{gp_id}/history get
/gps/{gp_id}/lps get
/gps/{gp_id}/lps/{lp_id} post delete
/gps/{gp_id}/notes get
/gps/{gp_id}/people get
/gps/{gp_id}/revert post
/gps/{gp_id}/tasks get
/health get
/images/{file} get
/livez get
/lps get post
/lps/search get
/lps/{lp_id} get put delete
/lps/{lp_id}/compare get
/lps/{lp_id}/gps get
/lps/{lp_id}/history get
/lps/{lp_id}/notes get
/lps/{lp_id}/people get
/lps/{lp_id}/revert post
/lps/{lp_id}/similar get
/lps/{lp_id}/tasks get
/metrics get
/notes get post
/notes/{note_id} get put delete
/notes/{note_id}/compare get
/notes/{note_id}/distributors get
/notes/{note_id}/distributors/{distributor_id} post delete
/notes/{note_id}/erase post
/notes/{note_id}/funds get
/notes/{note_id}/funds/{fund_id} post delete
/notes/{note_id}/gps get
/notes/{note_id}/gps/{gp_id} post delete
/notes/{note_id}/history get
/notes/{note_id}/hold get put delete
/notes/{note_id}/lps get
/notes/{note_id}/lps/{lp_id} post delete
/notes/{note_id}/participants get
/notes/{note_id}/participants/{person_id} post delete
/notes/{note_id}/record get
/notes/{note_id}/recordings get post options
/notes/{note_id}/relationships post
/notes/{note_id}/revert post
/notes/{note_id}/roadshows get
/notes/{note_id}/roadshows/{roadshow_id} post delete
/notes/{note_id}/similar get
/people get post
/people/search get
/people/{person_id} get put delete
/people/{person_id}/compare get
/people/{person_id}/distributors get
/people/{person_id}/distributors/{distributor_id} post delete
/people/{person_id}/erase post
/people/{person_id}/gps get
/people/{person_id}/gps/{gp_id} post delete
/people/{person_id}/history get
/people/{person_id}/hold get put delete
/people/{person_id}/lps get
/people/{person_id}/lps/{lp_id} post delete
/people/{person_id}/revert post
/projections get
/projections/{name} get
/projections/{name}/rebuild post delete
/projections/{name}/rollback post
/readyz get
/recordings get
/recordings/{recording_id} get patch delete
/recordings/{recording_id}/action-items/{number}/accept post
/recordings/{recording_id}/action-items/{number}/dismiss post
/recordings/{recording_id}/audio get head
/recordings/{recording_id}/cancel post
/recordings/{recording_id}/interest/accept post
/recordings/{recording_id}/interest/dismiss post
/recordings/{recording_id}/retry post
/recordings/{recording_id}/summarise post
/recordings/{recording_id}/transcribe post
/recordings/{recording_id}/transcript get patch
/roadshows get post
/roadshows/{roadshow_id} get put delete
/roadshows/{roadshow_id}/compare get
/roadshows/{roadshow_id}/history get
/roadshows/{roadshow_id}/lp-status get
/roadshows/{roadshow_id}/lps/{lp_id}/status put
/roadshows/{roadshow_id}/notes get
/roadshows/{roadshow_id}/revert post
/seals get
/seals/key get
/seals/latest get
/search get
/todos get post
/todos/{todo_id} get put delete
/todos/{todo_id}/compare get
/todos/{todo_id}/funds get
/todos/{todo_id}/gps get
/todos/{todo_id}/history get
/todos/{todo_id}/lps get
/todos/{todo_id}/notes get
/todos/{todo_id}/people get
/todos/{todo_id}/relationships post
/todos/{todo_id}/revert post
/todos/{todo_id}/roadshows get
/uploads/{upload} head post patch delete options
/webhooks get post
/webhooks/changes get
/webhooks/{webhook_id} get put delete
/webhooks/{webhook_id}/deliveries get
/webhooks/{webhook_id}/enable post
/webhooks/{webhook_id}/test post";

    #[tokio::test]
    async fn router_and_document_have_exactly_the_endpoints_of_the_contract() {
        let (_, document) = all().split_for_parts();
        let document = serde_json::to_value(document).unwrap();
        let mut endpoints: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| {
                let methods = ["get", "head", "post", "put", "patch", "delete", "options"];
                let methods = methods.into_iter().filter(|method| item.get(method).is_some());
                format!("{path} {}", methods.collect::<Vec<_>>().join(" "))
            })
            .collect();
        endpoints.sort();
        assert_eq!(endpoints.join("\n"), ENDPOINTS);
    }

    #[test]
    fn every_operation_is_described_and_every_reference_leads_somewhere() {
        let (_, document) = all().split_for_parts();
        let document = serde_json::to_value(document).unwrap();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{path}");
                assert!(ids.insert(operation["operationId"].to_string()), "{path}");
                let named = operation["parameters"].as_array().map_or(0, Vec::len);
                assert!(named >= path.matches('{').count(), "{path}");
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
