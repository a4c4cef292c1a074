//! The user's folders: made, renamed, deleted.

use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, page as shown, see};
use axum::body::Bytes;
use axum::response::Response;
use html::pages::{FoldersPage, Notice};
use mailstore::face::{FolderName, UserError, UserTask};

pub async fn page(login: Login) -> Result<Response, Trouble> {
    folders(&login, None).await
}

async fn folders(login: &Login, notice: Option<Notice>) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Folders · Hikyaku".into();
    frame.notice = notice;
    shown(&FoldersPage { frame })
}

pub async fn submit(login: Login, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    let task = match task_of(&form) {
        Ok(task) => task,
        Err(error) => return folders(&login, Some(Notice::failed(told(&error)))).await,
    };
    match login.user(task).await {
        Ok(_) => Ok(see("/folders")),
        Err(Trouble::Wrong(why)) => folders(&login, Some(Notice::failed(why))).await,
        Err(trouble) => Err(trouble),
    }
}

fn task_of(form: &Fields) -> Result<UserTask, UserError> {
    let name = |field| FolderName::new(form.get(field).trim()).map_err(UserError::BadName);
    match form.get("do") {
        "create" => Ok(UserTask::CreateFolder { name: name("name")?, special_use: None }),
        "rename" => Ok(UserTask::RenameFolder { from: name("from")?, to: name("name")? }),
        "delete" => Ok(UserTask::DeleteFolder { name: name("from")? }),
        _ => Err(UserError::Cannot("no such thing can be done with folders".into())),
    }
}

fn told(error: &UserError) -> String {
    super::trouble::capital(&error.to_string())
}
