//! What operators do with nodes, sessions and copies. What takes long goes on when the page is there.

use super::signed::Signed;
use super::{Fields, Trouble, escaped, page, see};
use crate::admin::api::{self, admin_server::Admin, session_kick_request::Whom};
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;
use operator_console::pages::{ConfirmPage, Part};
use std::sync::Arc;
use tokio_stream::StreamExt;
use tonic::{Request, Status};

/// What can be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeAct {
    Drain,
    Join,
    Remove,
}

impl NodeAct {
    fn named(name: &str) -> Result<Self, Trouble> {
        match name {
            "drain" => Ok(Self::Drain),
            "join" => Ok(Self::Join),
            "remove" => Ok(Self::Remove),
            _ => Err(Trouble::NotFound("Nothing of that name can be done with a node.".to_owned())),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Join => "join",
            Self::Remove => "remove",
        }
    }

    fn title(self, node: &str) -> String {
        match self {
            Self::Drain => format!("Drain node {node}?"),
            Self::Join => format!("Take node {node} back?"),
            Self::Remove => format!("Remove node {node} from the cluster?"),
        }
    }

    fn button(self) -> &'static str {
        match self {
            Self::Drain => "Drain it",
            Self::Join => "Take it back",
            Self::Remove => "Remove it",
        }
    }
}

/// What an act does to this node, in paragraphs.
fn says(act: NodeAct, node: &operator_console::model::Node) -> Vec<String> {
    let name = &node.name;
    match act {
        NodeAct::Drain => vec![
            format!(
                "Everything that {name} holds moves to other nodes: the lead of {} partitions at once, each with a pause of a \
                 tenth of a second for its users; {} copies as fast as cluster.fill_rate lets them.",
                node.primaries, node.in_sync
            ),
            "Nothing is lost, and everything is served meanwhile. The node stays up, takes clients, and holds nothing in the \
             end; “Take it back” undoes this. With fewer nodes than copies wanted, partitions then have fewer copies."
                .to_owned(),
        ],
        NodeAct::Join => vec![
            format!("{name} takes its share of the partitions again: it is filled with copies while everything is served."),
        ],
        NodeAct::Remove => vec![
            format!(
                "The cluster forgets {name}: what only this node holds is given up, and its data directory is of no use to the \
                 cluster any more. It now holds {} partitions in sync.",
                node.in_sync
            ),
            "That is refused while another node still needs it. To come back it begins with an empty data directory.".to_owned(),
        ],
    }
}

pub async fn ask_node(
    signed: Signed,
    Path((name, act)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let act = NodeAct::named(&act)?;
    let here = signed.console.own_status().await?;
    let Some(node) = here.node_named(&name) else {
        return Err(Trouble::NotFound(format!("The cluster has no node {name}.")));
    };
    let path = format!("/nodes/{}", escaped(&name));
    page(&ConfirmPage {
        frame: signed.frame(Part::Nodes, &act.title(&name)),
        says: says(act, node),
        action: format!("{path}/{}", act.name()),
        fields: Vec::new(),
        button: act.button().to_owned(),
        grave: act == NodeAct::Remove,
        back: path,
        command: format!("hikyaku node {} {name}", act.name()),
    })
}

pub async fn do_node(
    signed: Signed,
    Path((name, act)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Trouble> {
    signed.form(&body)?;
    let act = NodeAct::named(&act)?;
    let service = &signed.console.service;
    let request = Request::new(api::NodeRequest { node: name.clone() });
    // Who watches no longer changes nothing: it goes on.
    let done = match act {
        NodeAct::Drain => match service.node_drain(request).await {
            Ok(replies) => first(replies.into_inner().next().await),
            Err(status) => Err(status),
        },
        NodeAct::Join => match service.node_join(request).await {
            Ok(replies) => first(replies.into_inner().next().await),
            Err(status) => Err(status),
        },
        NodeAct::Remove => service.node_remove(request).await.map(|_| ()),
    };
    let what = match act {
        NodeAct::Drain => format!("Node {name} is being drained. Partitions shows what moves."),
        NodeAct::Join => format!("Node {name} takes its share again. Partitions shows what moves."),
        NodeAct::Remove => format!("Node {name} is removed from the cluster."),
    };
    if done.is_ok() {
        signed.note(
            "console",
            vec![("order", format!("node {}", act.name())), ("node", name.clone())],
        );
    }
    let gone = act == NodeAct::Remove && done.is_ok();
    let then = if gone { "/nodes".to_owned() } else { format!("/nodes/{}", escaped(&name)) };
    Ok(signed.done(done, what, &then))
}

fn first(reply: Option<Result<api::NodeReply, Status>>) -> Result<(), Status> {
    reply.transpose().map(|_| ())
}

pub async fn ask_scrub(signed: Signed) -> Result<Response, Trouble> {
    page(&ConfirmPage {
        frame: signed.frame(Part::Partitions, "Compare all copies now?"),
        says: vec![
            "Every node reads all that it leads, has every replica do the same, and compares. Wrong copies are built anew from \
             the others; a single node only reads, and says what is damaged."
                .to_owned(),
            "Mail is served meanwhile, and the disks have more to do. Nodes do the same by themselves in the time of \
             store.scrub. What is found stands under Partitions and in the events."
                .to_owned(),
        ],
        action: "/scrub".to_owned(),
        fields: Vec::new(),
        button: "Scrub now".to_owned(),
        grave: false,
        back: "/partitions".to_owned(),
        command: "hikyaku scrub".to_owned(),
    })
}

pub async fn do_scrub(signed: Signed, body: Bytes) -> Result<Response, Trouble> {
    signed.form(&body)?;
    signed.note("console", vec![("order", "scrub".to_owned())]);
    let console = Arc::clone(&signed.console);
    tokio::spawn(async move {
        let done = console.service.scrub(Request::new(api::ScrubRequest {})).await;
        let fields = match done.map(tonic::Response::into_inner) {
            Ok(reply) => {
                let round = reply.round.unwrap_or_default();
                let missed: Vec<String> = reply.missed_nodes.iter().map(u32::to_string).collect();
                vec![
                    ("partitions", round.partitions.to_string()),
                    ("differences", round.differences.to_string()),
                    ("repaired", round.repaired.to_string()),
                    ("unfinished", round.unfinished.to_string()),
                    ("missed-nodes", missed.join(",")),
                ]
            }
            Err(status) => vec![("reason", status.message().to_owned())],
        };
        crate::log::note(crate::config::LogLevel::Info, "scrub ended", fields);
    });
    let what = "The scrub has begun. Its end is an event, “scrub ended”.".to_owned();
    Ok(signed.done(Ok(()), what, "/partitions"))
}

pub async fn end_sessions(signed: Signed, body: Bytes) -> Result<Response, Trouble> {
    let form = signed.form(&body)?;
    let (session, account) = (form.get("session"), form.get("account"));
    let whom = match (session.parse(), account) {
        (Ok(session), _) => Whom::Session(session),
        (Err(_), "") => return Ok(see("/sessions")),
        (Err(_), account) => Whom::Account(account.to_owned()),
    };
    let request = api::SessionKickRequest { whom: Some(whom), this_node_only: false };
    let done = signed.console.service.session_kick(Request::new(request)).await;
    let what = done.as_ref().map(|reply| kicked(reply.get_ref())).unwrap_or_default();
    if done.is_ok() {
        let whom = if account.is_empty() { session } else { account };
        signed
            .note("console", vec![("order", "session kick".to_owned()), ("whom", whom.to_owned())]);
    }
    let then = match (form.get("then"), account) {
        ("", "") => "/sessions".to_owned(),
        ("", account) | (account, _) => format!("/accounts/{}", escaped(account)),
    };
    Ok(signed.done(done, what, &then))
}

fn kicked(reply: &api::SessionKickReply) -> String {
    let ended = match reply.ended {
        1 => "1 session ended.".to_owned(),
        ended => format!("{ended} sessions ended."),
    };
    let silent = reply.answers.iter().filter(|it| it.silent.is_some());
    let silent: Vec<&str> = silent.map(|it| it.node.as_str()).collect();
    if silent.is_empty() {
        ended
    } else {
        format!("{ended} Node {} did not answer.", silent.join(", "))
    }
}

/// Whether a form orders a move, and to where.
pub async fn move_mailbox(
    signed: &Signed,
    mailbox: &str,
    form: &Fields,
) -> (Result<(), Status>, String) {
    let to = form.get("to").to_owned();
    let request = api::MoveRequest { address: mailbox.to_owned(), node: to.clone() };
    let console = Arc::clone(&signed.console);
    let mut moved = tokio::spawn(async move {
        let moved = console.service.r#move(Request::new(request)).await;
        moved.map(tonic::Response::into_inner)
    });
    // A move to a node with a copy takes a tenth of a second; any other goes on behind the page.
    match tokio::time::timeout(std::time::Duration::from_secs(2), &mut moved).await {
        Ok(Ok(Ok(reply))) if to.is_empty() => {
            let what = format!("It is at {}; from now on placement decides.", reply.from);
            (Ok(()), what)
        }
        Ok(Ok(Ok(reply))) => {
            let what = format!(
                "Moved from {} to {} in {} ms, with the others of partition {}.",
                reply.from, reply.to, reply.elapsed_ms, reply.partition
            );
            (Ok(()), what)
        }
        Ok(Ok(Err(status))) => (Err(status), String::new()),
        Ok(Err(_)) => (Err(Status::internal("the call ended")), String::new()),
        Err(_) => {
            let what = format!(
                "The move to {to} is under way: that node is filled first. Partitions shows how far it is."
            );
            (Ok(()), what)
        }
    }
}
