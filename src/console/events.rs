//! `GET /v1/events`: what changes, as Server-Sent Events. One task a page, nothing while nobody looks.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use access::actions;
use axum::{
    Router,
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::{Stream, stream};
use serde_json::json;
use wire::v1::{ApiError, Caller};

use crate::{Console, cameras};

pub fn router(console: Console) -> Router {
    Router::new().route("/v1/events", get(events)).with_state(console)
}

/// How often states are looked at, and how often numbers are sent while nothing else changes.
const LOOK: Duration = Duration::from_millis(500);
const NUMBERS: u32 = 4;
const STORAGE: u32 = 20;

struct Page {
    console: Console,
    round: u32,
    sent: HashMap<String, cameras::View>,
    queue: Vec<Event>,
}

async fn events(
    State(c): State<Console>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    caller.admit(&c.gate, actions::LIST_CAMERAS, &c.home.own("camera/*")).await?;
    let page = Page { console: c, round: 0, sent: HashMap::new(), queue: Vec::new() };
    let s = stream::unfold(page, |mut p| async move {
        loop {
            if let Some(e) = p.queue.pop() {
                return Some((Ok(e), p));
            }
            if p.round > 0 {
                let clock = p.console.world.clock.clone();
                let mut stop = p.console.stop.clone();
                tokio::select! {
                    () = clock.sleep(LOOK) => {}
                    // The server drains: the page connects again to whoever comes next.
                    _ = stop.wait_for(|s| *s) => return None,
                }
            }
            p.look().await;
            p.round = p.round.wrapping_add(1);
        }
    });
    Ok(Sse::new(s).keep_alive(KeepAlive::default()))
}

impl Page {
    async fn look(&mut self) {
        let names = self.console.cameras.names();
        let gone: Vec<_> = self.sent.keys().filter(|n| !names.contains(n)).cloned().collect();
        for name in gone {
            self.sent.remove(&name);
            self.push("removed", json!({"name": name}));
        }
        for name in names {
            let Some(camera) = self.console.cameras.get(&name) else { continue };
            let view = cameras::view(&self.console, camera).await;
            let before = self.sent.get(&name);
            let turned = before.is_none_or(|b| b.states() != view.states());
            if turned || self.round.is_multiple_of(NUMBERS) && before != Some(&view) {
                self.push("camera", json!(view));
                self.sent.insert(name, view);
            }
        }
        if self.round.is_multiple_of(STORAGE)
            && let Some(s) = self.console.storage.storage().await
        {
            self.push("storage", json!(s));
        }
    }

    fn push(&mut self, kind: &str, value: serde_json::Value) {
        self.queue.insert(0, Event::default().event(kind).data(value.to_string()));
    }
}
