//! A session of the node's own, through which operators' tasks reach the machines.

use crate::control::{Control, ControlError};
use mailstore::face::{
    AdminDone, AdminTask, BlobDone, BlobTask, Completion, DirectoryDone, DirectoryTask, Resolved,
    SessionId, Task, TaskRefusal, UserDone, UserId, UserTask,
};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How often, and after what pause, a task is tried that an overloaded node refused: 5 s in all. Our choice.
const ATTEMPTS_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Ends with its owner.
pub struct OwnSession {
    control: Arc<dyn Control>,
    session: SessionId,
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        self.control.close_session(self.session);
    }
}

/// How a node that can't answer looks to clients.
pub fn status_of(error: &ControlError) -> Status {
    let text = error.to_string();
    match error {
        ControlError::Stopping => Status::unavailable(text),
        ControlError::Failed(_) => Status::internal(text),
    }
}

fn mixed_up() -> Status {
    Status::internal("the answer does not fit the task: this is a bug")
}

impl OwnSession {
    pub fn open(control: &Arc<dyn Control>) -> Self {
        Self { session: control.open_session(), control: Arc::clone(control) }
    }

    pub fn id(&self) -> SessionId {
        self.session
    }

    /// Asks again while the node is overloaded: what was refused was not done.
    pub async fn ask(&self, task: Task) -> Result<Completion, ControlError> {
        let mut attempts = 0;
        loop {
            let done = self.control.submit(self.session, task.clone()).await?;
            if done != Completion::Refused(TaskRefusal::Overloaded) || attempts >= ATTEMPTS_MAX {
                return Ok(done);
            }
            attempts += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What masters tell this session, from now on.
    pub fn listen(&self) -> tokio::sync::mpsc::UnboundedReceiver<mailstore::face::Notice> {
        self.control.listen(self.session)
    }

    async fn task(&self, task: Task) -> Result<Completion, Status> {
        match self.ask(task).await.map_err(|error| status_of(&error))? {
            Completion::Refused(refusal) => {
                Err(Status::unavailable(format!("{refusal}; try again")))
            }
            done @ (Completion::Directory(_)
            | Completion::User(_)
            | Completion::Delivery(_)
            | Completion::Blob(_)) => Ok(done),
        }
    }

    /// An operator's order.
    pub async fn order(&self, task: AdminTask) -> Result<AdminDone, Status> {
        match self.task(Task::Directory(DirectoryTask::Admin(task))).await? {
            Completion::Directory(DirectoryDone::Admin(AdminDone::Refused(reason))) => {
                Err(Status::failed_precondition(reason))
            }
            Completion::Directory(DirectoryDone::Admin(done)) => Ok(done),
            _ => Err(mixed_up()),
        }
    }

    /// Where an address leads: accounts with their users.
    pub async fn resolve(&self, address: &str) -> Result<Vec<(Arc<str>, UserId)>, Status> {
        let task = DirectoryTask::Resolve { address: address.as_bytes().to_vec().into() };
        let Completion::Directory(DirectoryDone::Resolved(resolved)) =
            self.task(Task::Directory(task)).await?
        else {
            return Err(mixed_up());
        };
        let refused = |reason: &str| {
            Err(Status::failed_precondition(format!(
                "{address}: {reason}; `hikyaku account list` and `hikyaku alias list` show what there is"
            )))
        };
        match resolved {
            Resolved::Local(recipients) => {
                Ok(recipients.iter().map(|it| (Arc::clone(&it.address), it.user)).collect())
            }
            Resolved::Unknown => refused("there is no such account or alias"),
            Resolved::Disabled => refused("the account is disabled"),
            Resolved::NotLocal => refused("the domain is not kept here"),
            Resolved::Malformed => refused("this is no mail address"),
        }
    }

    /// The account of exactly this address, disabled or not.
    pub async fn account(&self, address: &str) -> Result<UserId, Status> {
        match self.order(AdminTask::AccountShow { address: address.to_owned() }).await? {
            AdminDone::Accounts(accounts) => match accounts.first() {
                Some(account) => Ok(account.user),
                None => Err(Status::failed_precondition(format!(
                    "{address}: there is no such account; `hikyaku account list` shows what there is"
                ))),
            },
            _ => Err(mixed_up()),
        }
    }

    /// A task for a user's master. `Failed` is told as a status.
    pub async fn user(&self, user: UserId, task: UserTask) -> Result<UserDone, Status> {
        match self.task(Task::User { user, task }).await? {
            Completion::User(UserDone::Failed(error)) => {
                Err(Status::failed_precondition(error.to_string()))
            }
            Completion::User(done) => Ok(done),
            _ => Err(mixed_up()),
        }
    }

    pub async fn blob(&self, task: BlobTask) -> Result<BlobDone, Status> {
        match self.task(Task::Blob(task)).await? {
            Completion::Blob(done) => Ok(done),
            _ => Err(mixed_up()),
        }
    }
}

/// For matches on the one completion that fits.
pub fn unexpected() -> Status {
    mixed_up()
}
