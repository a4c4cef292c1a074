//! Accounts: those that are searched for, a page of them, with what each keeps and where.

use super::own_session::{OwnSession, unexpected};
use super::{api, directory};
use crate::control::Control;
use mailstore::face::{
    AccountEntry, AdminDone, AdminTask, QuotaReport, UserDone, UserId, UserTask,
};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How long a mailbox may take to say what it keeps. Our choice: while its node is down the rest is shown.
const USAGE_TIME: Duration = Duration::from_secs(2);
/// Mailboxes that are asked at once. Our choice: one that is asleep is read from the disk.
const ASKED_AT_ONCE: usize = 16;

/// The accounts that are asked for, by address.
pub async fn list(
    control: &Arc<dyn Control>,
    request: api::AccountListRequest,
) -> Result<api::AccountListReply, Status> {
    let session = Arc::new(OwnSession::open(control));
    let domain = request.domain.clone();
    let AdminDone::Accounts(mut entries) = session.order(AdminTask::AccountList { domain }).await?
    else {
        return Err(unexpected());
    };
    let search = request.search.to_lowercase();
    let matches = |entry: &AccountEntry| {
        entry.address.to_lowercase().contains(&search)
            || entry.display_name.to_lowercase().contains(&search)
    };
    entries.retain(|entry| search.is_empty() || matches(entry));
    let total = entries.len() as u64;
    let skipped = usize::try_from(request.offset).unwrap_or(usize::MAX);
    let limit = match usize::try_from(request.limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    };
    let page: Vec<AccountEntry> = entries.into_iter().skip(skipped).take(limit).collect();
    let users: Vec<UserId> = page.iter().map(|entry| entry.user).collect();
    let mut accounts: Vec<api::Account> = page.into_iter().map(directory::account).collect();
    if request.usage {
        let usage = usage(&session, &users).await;
        for ((account, user), quota) in accounts.iter_mut().zip(users).zip(usage) {
            account.bytes_used = quota.map(|quota| quota.bytes_used);
            account.messages_used = quota.map(|quota| quota.messages_used);
            let (node, partition) = control.master(user);
            account.node = Some(node);
            account.partition = Some(partition.into());
        }
    }
    Ok(api::AccountListReply { accounts, total })
}

/// What each of the users keeps, in their order.
async fn usage(session: &Arc<OwnSession>, users: &[UserId]) -> Vec<Option<QuotaReport>> {
    let mut all = Vec::new();
    for some in users.chunks(ASKED_AT_ONCE) {
        let ask = |user: UserId| {
            let session = Arc::clone(session);
            async move {
                let asked = tokio::time::timeout(USAGE_TIME, session.user(user, UserTask::Quota));
                match asked.await {
                    Ok(Ok(UserDone::Quota(quota))) => Some(quota),
                    _ => None,
                }
            }
        };
        let under_way: Vec<_> = some.iter().map(|user| tokio::spawn(ask(*user))).collect();
        for task in under_way {
            all.push(task.await.unwrap_or(None));
        }
    }
    all
}
