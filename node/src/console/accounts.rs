//! Pages of accounts, and what their forms order.

use super::call::shown;
use super::signed::Signed;
use super::{Fields, Trouble, acts, address, escaped, page};
use crate::admin::api::{self, admin_server::Admin};
use crate::config::Size;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::Uri;
use axum::response::Response;
use operator_console::model::{Account, Location, Locations, Node};
use operator_console::pages::{AccountPage, AccountsPage, ConfirmPage, Pager, Part};
use tonic::{Request, Status};

/// Accounts of a page. Our choice: each is asked what it keeps.
const ACCOUNTS: u64 = 50;

pub async fn list(signed: Signed, uri: Uri) -> Result<Response, Trouble> {
    let query = Fields::of_query(&uri);
    let (search, offset) = (query.get("q").to_owned(), query.number("offset"));
    let request = api::AccountListRequest {
        domain: None,
        search: search.clone(),
        offset,
        limit: ACCOUNTS,
        usage: true,
    };
    let console = &signed.console;
    let (list, here) = tokio::join!(console.accounts(request), console.own_status());
    let (list, alone) = (list?, here?.is_alone());
    let at = |offset: u64| {
        let offset = if offset == 0 { String::new() } else { offset.to_string() };
        address("/accounts", &[("q", &search), ("offset", &offset)])
    };
    let pager = Pager::new((offset, list.accounts.len() as u64, list.total), ACCOUNTS, at);
    let frame = signed.frame(Part::Accounts, "Accounts");
    let (address, search) = (query.get("address").to_owned(), search.clone());
    page(&AccountsPage { frame, list, search, pager, alone, address })
}

pub async fn add(signed: Signed, body: Bytes) -> Result<Response, Trouble> {
    let form = signed.form(&body)?;
    let mailbox = form.get("address").to_owned();
    let (service, name) = (&signed.console.service, form.get("name").to_owned());
    let secret = form.raw("password").to_owned();
    let made = match typed_password(&secret) {
        Ok(()) => {
            let request = api::AccountAddRequest { address: mailbox.clone(), secret };
            service.account_add(Request::new(request)).await.map(|_| ())
        }
        Err(status) => Err(status),
    };
    if made.is_err() {
        let then = address("/accounts", &[("address", &mailbox)]);
        return Ok(signed.done(made, String::new(), &then));
    }
    signed.note("console", vec![("order", "account add".to_owned()), ("account", mailbox.clone())]);
    let mut what = format!("{mailbox} is added.");
    if !name.is_empty() {
        let request = api::AccountSetRequest {
            address: mailbox.clone(),
            display_name: Some(name),
            ..api::AccountSetRequest::default()
        };
        if let Err(status) = service.account_set(Request::new(request)).await {
            what = format!("{what} Its name is not set: {}.", status.message());
        }
    }
    Ok(signed.done(Ok(()), what, &format!("/accounts/{}", escaped(&mailbox))))
}

/// What a person types is a password, and never the hash of one.
fn typed_password(secret: &str) -> Result<(), Status> {
    if secret.starts_with('{') {
        return Err(Status::invalid_argument(
            "a password does not begin with {; hashes are taken by `hikyaku account import`",
        ));
    }
    if secret.chars().count() < 8 {
        return Err(Status::invalid_argument("the password is shorter than eight characters"));
    }
    Ok(())
}

/// The account of exactly this address.
async fn find(signed: &Signed, mailbox: &str) -> Result<Account, Trouble> {
    let request = api::AccountListRequest {
        search: mailbox.to_owned(),
        usage: false,
        ..api::AccountListRequest::default()
    };
    let found = signed.console.accounts(request).await?.accounts;
    let at = found.iter().position(|it| it.address.eq_ignore_ascii_case(mailbox));
    let missing = || Trouble::NotFound(format!("There is no account {mailbox}."));
    let address = at.and_then(|at| found.get(at)).ok_or_else(missing)?.address.clone();
    // Once more for what it keeps: a search may find many.
    let request = api::AccountListRequest {
        search: address,
        offset: at.unwrap_or(0) as u64,
        limit: 1,
        usage: true,
        domain: None,
    };
    signed.console.accounts(request).await?.accounts.pop().ok_or_else(missing)
}

pub async fn show(signed: Signed, Path(mailbox): Path<String>) -> Result<Response, Trouble> {
    let account = find(&signed, &mailbox).await?;
    let console = &signed.console;
    let request = Request::new(api::WhereRequest { address: account.address.clone() });
    let (place, sessions, aliases, here) = tokio::join!(
        console.service.r#where(request),
        console.sessions_of(Some(&account.address)),
        console.aliases(None),
        console.own_status()
    );
    // Of an account that is disabled nothing is told.
    let place: Option<Locations> = shown(place).ok();
    let own = |it: &Location| it.account == account.address;
    let location = place.and_then(|place| place.locations.into_iter().find(own));
    let aliases = aliases?.into_iter().filter(|it| it.targets.contains(&account.address)).collect();
    let master = account.node.clone().unwrap_or_default();
    let able = |it: &Node| it.is_up() && !it.draining && it.name != master;
    let nodes = here?.nodes.into_iter().filter(able);
    let nodes = nodes.map(|node| node.name).collect();
    let quota = account.quota_bytes.map(|bytes| Size(bytes).to_string()).unwrap_or_default();
    let frame = signed.frame(Part::Accounts, &account.address);
    page(&AccountPage { frame, location, sessions: sessions?, aliases, nodes, quota, account })
}

/// A quota as typed; 0 takes it away.
pub fn typed_size(text: &str) -> Result<u64, Status> {
    match (text, Size::parse(text)) {
        ("", _) => Ok(0),
        (_, Ok(Size(bytes))) if bytes > 0 => Ok(bytes),
        (_, Ok(_) | Err(_)) => Err(Status::invalid_argument(format!(
            "{text:?} is no size: write it as in 5 GiB, or nothing for no limit"
        ))),
    }
}

pub async fn change(
    signed: Signed,
    Path(mailbox): Path<String>,
    body: Bytes,
) -> Result<Response, Trouble> {
    let form = signed.form(&body)?;
    let then = format!("/accounts/{}", escaped(&mailbox));
    let (done, what) = if form.get("do") == "password" {
        (
            set_password(&signed, &mailbox, &form).await,
            "The password is changed, and open sessions end.",
        )
    } else {
        (set(&signed, &mailbox, &form).await, "The settings are saved.")
    };
    if done.is_ok() {
        let order = if form.get("do") == "password" { "account password" } else { "account set" };
        signed.note("console", vec![("order", order.to_owned()), ("account", mailbox)]);
    }
    Ok(signed.done(done, what.to_owned(), &then))
}

async fn set_password(signed: &Signed, mailbox: &str, form: &Fields) -> Result<(), Status> {
    let secret = form.raw("password").to_owned();
    typed_password(&secret)?;
    let request = api::AccountPasswordRequest { address: mailbox.to_owned(), secret };
    signed.console.service.account_password(Request::new(request)).await.map(|_| ())
}

async fn set(signed: &Signed, mailbox: &str, form: &Fields) -> Result<(), Status> {
    let messages = match (form.get("messages"), form.get("messages").parse()) {
        ("", _) => 0,
        (_, Ok(count)) if count > 0 => count,
        (text, _) => {
            return Err(Status::invalid_argument(format!("{text:?} is no number of messages")));
        }
    };
    let request = api::AccountSetRequest {
        address: mailbox.to_owned(),
        quota_bytes: Some(typed_size(form.get("quota"))?),
        quota_messages: Some(messages),
        display_name: Some(form.get("name").to_owned()),
    };
    signed.console.service.account_set(Request::new(request)).await.map(|_| ())
}

/// What an act is called, what it does, in paragraphs, and what stands on its button.
fn words(
    act: &str,
    account: &Account,
    to: &str,
) -> Result<(String, Vec<String>, &'static str), Trouble> {
    let mailbox = &account.address;
    let (title, says, button): (String, Vec<String>, _) = match act {
        "disable" => (
            format!("Disable {mailbox}?"),
            vec![
                "Nobody can sign in as this account, open sessions end, and mail for it is refused. Its mail stays; \
                 “Enable” undoes this."
                    .into(),
            ],
            "Disable it",
        ),
        "enable" => (
            format!("Enable {mailbox}?"),
            vec!["It can sign in and receive again.".into()],
            "Enable it",
        ),
        "remove" => (
            format!("Remove {mailbox}?"),
            vec![
                removal(account),
                "That can't be taken back. To keep the mail, write it out first: hikyaku export."
                    .into(),
            ],
            "Remove it with all of its mail",
        ),
        "move" if to.is_empty() => (
            format!("Let placement decide about {mailbox}?"),
            vec![
                "A move that has not arrived ends; the mailbox stays where it is until balance says otherwise."
                    .into(),
            ],
            "Let placement decide",
        ),
        "move" => (format!("Move {mailbox} to node {to}?"), moving(account, to), "Move it"),
        _ => {
            let text = "Nothing of that name can be done with an account.";
            return Err(Trouble::NotFound(text.into()));
        }
    };
    Ok((title, says, button))
}

fn moving(account: &Account, to: &str) -> Vec<String> {
    let number = account.partition.map(|it| format!(", number {it}")).unwrap_or_default();
    vec![
        format!(
            "Node {to} becomes the master of the mailbox, and of all others of its partition{number}. If it has no copy it is \
             filled first, while the mailbox is served where it is."
        ),
        "Open sessions go on after a pause of a tenth of a second. The mailbox stays there until it is moved again."
            .to_owned(),
    ]
}

pub async fn ask(
    signed: Signed,
    Path((mailbox, act)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let account = find(&signed, &mailbox).await?;
    let to = Fields::of_query(&uri).get("to").to_owned();
    let (title, says, button) = words(&act, &account, &to)?;
    let mailbox = account.address;
    let command = match &*act {
        "move" if to.is_empty() => format!("hikyaku move {mailbox} --cancel"),
        "move" => format!("hikyaku move {mailbox} --to {to}"),
        act => format!("hikyaku account {act} {mailbox}"),
    };
    let path = format!("/accounts/{}", escaped(&mailbox));
    page(&ConfirmPage {
        frame: signed.frame(Part::Accounts, &title),
        says,
        action: format!("{path}/{act}"),
        fields: if act == "move" { vec![("to", to)] } else { Vec::new() },
        button: button.to_owned(),
        grave: act == "remove",
        back: path,
        command,
    })
}

fn removal(account: &Account) -> String {
    match account.messages_used {
        Some(1) => "The account and its one message are deleted on all nodes.".to_owned(),
        Some(count) => format!("The account and its {count} messages are deleted on all nodes."),
        None => "The account and all of its mail are deleted on all nodes.".to_owned(),
    }
}

pub async fn act(
    signed: Signed,
    Path((mailbox, act)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Trouble> {
    let form = signed.form(&body)?;
    let service = &signed.console.service;
    let own = format!("/accounts/{}", escaped(&mailbox));
    let enable = |on: bool| {
        let request = api::AccountEnableRequest { address: mailbox.clone(), on };
        service.account_enable(Request::new(request))
    };
    let (done, what, then) = match &*act {
        "disable" => (enable(false).await.map(|_| ()), format!("{mailbox} is disabled."), own),
        "enable" => (enable(true).await.map(|_| ()), format!("{mailbox} is enabled."), own),
        "remove" => {
            let request = api::AccountRemoveRequest { address: mailbox.clone() };
            let done = service.account_remove(Request::new(request)).await.map(|_| ());
            let then = if done.is_ok() { "/accounts".to_owned() } else { own };
            (done, format!("{mailbox} is removed."), then)
        }
        "move" => {
            let (done, what) = acts::move_mailbox(&signed, &mailbox, &form).await;
            (done, what, own)
        }
        _ => {
            return Err(Trouble::NotFound(
                "Nothing of that name can be done with an account.".into(),
            ));
        }
    };
    if done.is_ok() {
        let order = if act == "move" { "move".to_owned() } else { format!("account {act}") };
        signed.note("console", vec![("order", order), ("account", mailbox.clone())]);
    }
    Ok(signed.done(done, what, &then))
}
