//! `events`: the last lines of the logs of all nodes, and what comes.

use super::args::{Cli, EventsArgs};
use super::client::{Client, connect, told};
use super::{operate, output};
use crate::admin::api;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks for what is new. Our choice.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events of one look.
const LOOK_MAX: u32 = 1000;

pub async fn events(cli: &Cli, args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let mut client = connect(cli).await?;
    let mut request = api::EventListRequest {
        node: args.of.clone().unwrap_or_default(),
        level: args.level.clone().unwrap_or_default(),
        kind: args.kind.clone().unwrap_or_default(),
        text: args.text.clone().unwrap_or_default(),
        limit: args.limit,
        ..api::EventListRequest::default()
    };
    let first = ask(&mut client, &request).await?;
    show(cli, &first)?;
    let code = operate::all_answered(&first.answers);
    if !args.follow {
        return Ok(code);
    }
    let mut marks = Marks::default();
    marks.move_to(&first.ends);
    request.limit = LOOK_MAX;
    loop {
        request.after = marks.places();
        let reply = ask(&mut client, &request).await?;
        show(cli, &reply)?;
        if reply.more {
            let places = reply.events.iter().rev().filter_map(|event| event.place.clone());
            marks.move_to(&places.collect::<Vec<_>>());
        } else {
            marks.move_to(&reply.ends);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Up to where the events of each node have been shown.
#[derive(Default)]
struct Marks(BTreeMap<String, api::EventPlace>);

impl Marks {
    fn move_to(&mut self, places: &[api::EventPlace]) {
        for place in places {
            self.0.insert(place.node.clone(), place.clone());
        }
    }

    fn places(&self) -> Vec<api::EventPlace> {
        self.0.values().cloned().collect()
    }
}

async fn ask(
    client: &mut Client,
    request: &api::EventListRequest,
) -> anyhow::Result<api::EventListReply> {
    let reply = client.event_list(request.clone()).await;
    Ok(reply.map_err(|status| told(&status))?.into_inner())
}

/// Oldest first, as logs have it.
fn show(cli: &Cli, reply: &api::EventListReply) -> anyhow::Result<()> {
    let mut shown = String::new();
    for event in reply.events.iter().rev() {
        if cli.json {
            shown.push_str(&serde_json::to_string(event)?);
        } else {
            let place = event.place.clone().unwrap_or_default();
            let fields: Vec<_> =
                event.fields.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
            shown.push_str(&crate::log::time_text(place.unix_ms));
            for word in [&place.node, &event.level] {
                shown.push(' ');
                shown.push_str(word);
            }
            shown.push(' ');
            shown.push_str(&crate::log::text_of(&event.kind, &fields));
        }
        shown.push('\n');
    }
    Ok(output::text(&shown)?)
}
