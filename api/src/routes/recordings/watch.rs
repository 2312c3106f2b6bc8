//! A recording's standing as a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::problem::Problem;
use crate::recordings::{self, Standing};

/// How often a watched recording is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Tells where a recording stands, now and whenever that is different, until nothing more is to come, it is removed, or
/// the client goes away.
pub(super) fn watch(app: App, first: Standing) -> impl Stream<Item = Result<Event, Infallible>> {
    let (sender, events) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let (id, mut now, mut told) = (first.stored.id, first, String::new());
        loop {
            let text = now.to_json().to_string();
            if text != told {
                let event = Event::default().event("recording").data(&text);
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
                told = text;
            }
            if !now.is_under_way() {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = app.rebuilds.dismissal().cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            match recordings::find(&app, id).await {
                Ok(next) => now = next,
                Err(Problem::NoRecording(_)) => return,
                // While the database is away there is no news.
                Err(_) => {}
            }
        }
    });
    ReceiverStream::new(events)
}
