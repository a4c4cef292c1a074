//! The address book: what the user entered, and to whom the user has written.

use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, page as shown, query_of, see};
use axum::body::Bytes;
use axum::extract::{Multipart, Path, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use html::cards::FILE_BYTES_MAX;
use html::compose::addresses;
use html::envelope::Address;
use html::pages::{ContactsPage, Notice};
use mailstore::face::{
    Collection, Expect, RECORD_CHANGES_MAX, RecordChange, RecordName, RecordTask, UserTask,
};
use std::collections::BTreeMap;

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

/// Adds those whom the user writes to, and how many that were; a name that is there stays when there is no new one.
pub async fn learn(
    login: &Login,
    people: impl Iterator<Item = &Address>,
) -> Result<usize, Trouble> {
    let mut names: BTreeMap<String, String> =
        contacts(login).await?.into_iter().map(|it| (it.mailbox, it.name)).collect();
    let mut changes: BTreeMap<RecordName, RecordChange> = BTreeMap::new();
    for person in people {
        let mailbox = person.mailbox.to_lowercase();
        let before = names.get(&mailbox);
        let has_more = before.is_none_or(|name| name.is_empty() && !person.name.is_empty());
        if has_more && let Some(name) = RecordName::new(&mailbox) {
            names.insert(mailbox, person.name.clone());
            let value = Some(person.name.clone().into_bytes().into());
            let (collection, expect) = (Collection::Contacts, Expect::Anything);
            changes.insert(name.clone(), RecordChange { collection, name, expect, value });
        }
    }
    let changes: Vec<RecordChange> = changes.into_values().collect();
    for some in changes.chunks(RECORD_CHANGES_MAX) {
        login.user(UserTask::Records(RecordTask::Write(some.to_vec()))).await?;
    }
    Ok(changes.len())
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

/// The whole book as a file.
pub async fn export(login: Login, Path(name): Path<String>) -> Result<Response, Trouble> {
    let all = contacts(&login).await?;
    let (media, text) = match name.as_str() {
        "contacts.vcf" => ("text/vcard; charset=utf-8", html::cards::vcards(&all)),
        "contacts.csv" => ("text/csv; charset=utf-8", html::cards::csv(&all)),
        _ => return Err(Trouble::NotFound("There is no such file.".into())),
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, media), (header::CONTENT_DISPOSITION, &*disposition)];
    Ok((headers, text).into_response())
}

/// A file of another program. Who is there already keeps the name, unless there was none.
pub async fn import(login: Login, mut form: Multipart) -> Result<Response, Trouble> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        Trouble::Wrong(format!("The file did not arrive whole: {}.", error.body_text()))
    };
    let (mut fields, mut file) = (Fields::default(), Vec::new());
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name != "file" {
            fields.push(name, field.text().await.map_err(broken)?);
            continue;
        }
        while let Some(piece) = field.chunk().await.map_err(broken)? {
            file.extend_from_slice(&piece);
            if file.len() > FILE_BYTES_MAX {
                let most = html::date::bytes(FILE_BYTES_MAX as u64);
                return listed(
                    &login,
                    Some(Notice::failed(format!("The file is too large: {most} at most."))),
                )
                .await;
            }
        }
    }
    fields.checked(&login)?;
    let notice = match html::cards::read(&file) {
        Ok(found) => match learn(&login, found.iter()).await {
            Ok(added) => {
                Notice::done(format!("{added} contacts came in, of {} in the file.", found.len()))
            }
            Err(Trouble::Wrong(why)) => Notice::failed(why),
            Err(trouble) => return Err(trouble),
        },
        Err(why) => Notice::failed(why),
    };
    listed(&login, Some(notice)).await
}
