//! The address book: what the user entered, and to whom the user has written.

use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, page as shown, query_of, see};
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use html::compose::addresses;
use html::envelope::Address;
use html::pages::{ContactsPage, Notice};
use mailstore::face::{Collection, RecordName};

/// Names offered at once.
const OFFERED_MAX: usize = 8;

/// All contacts, by name.
async fn contacts(login: &Login) -> Result<Vec<Address>, Trouble> {
    let records = login.records(Collection::Contacts).await?;
    let read = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
    let mut all: Vec<Address> = records
        .iter()
        .filter_map(|record| {
            Some(Address { name: read(&record.value)?, mailbox: record.name.as_str().to_owned() })
        })
        .collect();
    all.sort_by_key(|it| it.shown().to_lowercase());
    Ok(all)
}

/// Adds those whom the user writes to; a name that is there stays when there is no new one.
pub async fn learn(login: &Login, people: impl Iterator<Item = &Address>) -> Result<(), Trouble> {
    let known = contacts(login).await?;
    for person in people {
        let mailbox = person.mailbox.to_lowercase();
        let before = known.iter().find(|it| it.mailbox == mailbox);
        let has_more = before.is_none_or(|it| it.name.is_empty() && !person.name.is_empty());
        if has_more && let Some(name) = RecordName::new(&mailbox) {
            login.put((Collection::Contacts, name), Some(person.name.clone().into_bytes())).await?;
        }
    }
    Ok(())
}

async fn listed(login: &Login, notice: Option<Notice>) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Contacts · Hikyaku".into();
    frame.notice = notice;
    shown(&ContactsPage { frame, contacts: contacts(login).await? })
}

pub async fn page(login: Login) -> Result<Response, Trouble> {
    listed(&login, None).await
}

pub async fn submit(login: Login, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    let mailbox = form.get("mailbox").trim().to_lowercase();
    let Some(key) = RecordName::new(&mailbox) else {
        return listed(&login, Some(Notice::failed("The address is empty or too long."))).await;
    };
    let value = match form.get("do") {
        "remove" => None,
        _ => match addresses(&mailbox) {
            Ok(found) if found.len() == 1 => {
                let name = form.get("name").chars().filter(|c| !c.is_control()).take(200);
                Some(name.collect::<String>().trim().to_owned().into_bytes())
            }
            Ok(_) => return listed(&login, Some(Notice::failed("One address at a time."))).await,
            Err(why) => return listed(&login, Some(Notice::failed(why))).await,
        },
    };
    login.put((Collection::Contacts, key), value).await?;
    Ok(see("/contacts"))
}

/// For the fields of recipients: those that begin, in name or address, with what was typed.
pub async fn complete(login: Login, request: Request) -> Result<Response, Trouble> {
    let typed = query_of(&request).get("q").trim().to_lowercase();
    let begins =
        |text: &str| text.to_lowercase().split_whitespace().any(|word| word.starts_with(&typed));
    let found = contacts(&login).await?.into_iter();
    let found = found.filter(|it| begins(&it.name) || begins(&it.mailbox)).take(OFFERED_MAX);
    let found: Vec<String> = found.map(|it| it.full()).collect();
    let text = serde_json::to_string(&found).map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
