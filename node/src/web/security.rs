//! Who gets in: the password, the second factor, app passwords, and where the user is logged in. What opens or closes a way in
//! asks for the password again, for a browser may be left alone.

use super::asking::unexpected;
use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, page as shown, second_factor, see};
use axum::body::Bytes;
use axum::response::Response;
use html::pages::{AppPasswordLine, BrowserLine, CodesPage, FactorLine, Notice, SecurityPage};
use html::security::{base32, from_base32, grouped};
use mailstore::directory::recovery_hash;
use mailstore::face::{
    AdminDone, AdminTask, AuthRefusal, Collection, CredentialKind, DirectoryDone, DirectoryTask,
    InternalDate, Protocol, RecordName, TotpSecret,
};

/// Shortest new password, in characters. NIST SP 800-63B 5.1.1.2.
const PASSWORD_CHARS_MIN: usize = 8;
/// Recovery codes of a user. Our choice: a lost device is rare, and paper is short.
const RECOVERY_CODES: usize = 10;
/// Random bytes of a recovery code and of an app password: 80 bits, sixteen letters.
const CODE_BYTES: usize = 10;

/// What app passwords may be for, by the name in the form.
const SCOPES: [(&str, &[Protocol]); 3] = [
    ("imap", &[Protocol::Imap]),
    ("pop3", &[Protocol::Pop3]),
    ("smtp", &[Protocol::Submission, Protocol::Smtp]),
];

/// `Err` of it is for the person: nothing was changed.
type Done<T> = Result<Result<T, String>, Trouble>;

pub async fn page(login: Login) -> Result<Response, Trouble> {
    listed(&login, None, None).await
}

async fn listed(
    login: &Login,
    notice: Option<Notice>,
    fresh: Option<(String, String)>,
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Security · Hikyaku".into();
    frame.notice = notice;
    let dates = login.dates(&settings);
    let at = |unix_seconds| dates.long(InternalDate { unix_seconds, ..InternalDate::default() });
    let mut browsers = login.browsers().await?;
    browsers.sort_by_key(|(_, browser)| std::cmp::Reverse(browser.used));
    let own = login.cookie.record_name();
    let browsers = browsers.into_iter().map(|(name, browser)| BrowserLine {
        here: name == own,
        id: name.as_str().to_owned(),
        used: at(browser.used),
        agent: browser.agent,
        ip: browser.ip,
    });
    let browsers = browsers.collect();
    let address = login.browser.address.clone();
    let factor =
        match order(login, AdminTask::SecondFactorShow { address: address.clone() }).await? {
            Ok(AdminDone::SecondFactor(factor)) => factor.map(|it| FactorLine {
                since: at(it.since.unix_seconds()),
                recovery_left: it.recovery_left,
            }),
            _ => return Err(unexpected()),
        };
    let Ok(AdminDone::Credentials(credentials)) =
        order(login, AdminTask::CredentialList { address }).await?
    else {
        return Err(unexpected());
    };
    let app = credentials.into_iter().filter(|it| it.kind == CredentialKind::AppPassword);
    let app_passwords = app.map(|it| AppPasswordLine {
        scopes: scope_names(it.protocols.as_deref()),
        created: at(it.created.unix_seconds()),
        used: it.last_used.map_or_else(|| "never".to_owned(), |used| at(used.unix_seconds())),
        label: it.label,
    });
    shown(&SecurityPage { app_passwords: app_passwords.collect(), frame, browsers, factor, fresh })
}

fn scope_names(protocols: Option<&[Protocol]>) -> String {
    let Some(protocols) = protocols else { return "everything".into() };
    let has = |scope: &[Protocol]| scope.iter().any(|it| protocols.contains(it));
    let names = SCOPES.iter().filter(|(_, scope)| has(scope)).map(|(name, _)| name.to_uppercase());
    names.collect::<Vec<_>>().join(", ")
}

pub async fn submit(login: Login, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    match form.get("do") {
        "password" => {
            let told = "The password is changed. Everywhere else you have to sign in again.";
            finish(&login, change_password(&login, &form).await?, told).await
        }
        "factor-on" => factor_on(&login, &form).await,
        "factor-off" => {
            let told = "Signing in takes the password alone again.";
            finish(&login, factor_off(&login, &form).await?, told).await
        }
        "recovery" => match new_recovery(&login, &form).await? {
            Ok(codes) => {
                show_codes(&login, codes, "New recovery codes. The old ones count no more.").await
            }
            Err(why) => listed(&login, Some(Notice::failed(why)), None).await,
        },
        "app-add" => match add_app_password(&login, &form).await? {
            Ok(fresh) => listed(&login, None, Some(fresh)).await,
            Err(why) => listed(&login, Some(Notice::failed(why)), None).await,
        },
        "app-remove" => {
            let (address, label) = (login.browser.address.clone(), form.get("label").to_owned());
            let removed = order(&login, AdminTask::CredentialRemove { address, label }).await?;
            let told = "That app password opens nothing any more.";
            finish(&login, removed.map(drop), told).await
        }
        "end" => {
            if let Some(name) = RecordName::new(form.get("id")) {
                login.sign_out(name).await?;
            }
            Ok(see("/security"))
        }
        "end-others" => {
            end_others(&login).await?;
            listed(&login, Some(Notice::done("Signed out everywhere else.")), None).await
        }
        "end-all" => {
            end_others(&login).await?;
            login.sign_out(login.cookie.record_name()).await?;
            Ok(see("/login"))
        }
        _ => Err(Trouble::Wrong("There is no such setting.".into())),
    }
}

async fn finish(login: &Login, done: Result<(), String>, told: &str) -> Result<Response, Trouble> {
    let notice = match done {
        Ok(()) => Notice::done(told),
        Err(why) => Notice::failed(why),
    };
    listed(login, Some(notice), None).await
}

/// An order about the account of the user. Those who ask in webmail ask about their own.
async fn order(login: &Login, task: AdminTask) -> Done<AdminDone> {
    match login.directory(DirectoryTask::Admin(task)).await? {
        DirectoryDone::Admin(AdminDone::Refused(why)) => Ok(Err(super::trouble::capital(&why))),
        DirectoryDone::Admin(done) => Ok(Ok(done)),
        _ => Err(unexpected()),
    }
}

async fn end_others(login: &Login) -> Result<(), Trouble> {
    let own = login.cookie.record_name();
    let records = login.records(Collection::BrowserSessions).await?;
    for record in records.into_iter().filter(|record| record.name != own) {
        login.sign_out(record.name).await?;
    }
    Ok(())
}

/// The password again.
async fn prove(login: &Login, form: &Fields) -> Done<()> {
    let (address, password) = (&login.browser.address, form.get("old"));
    Ok(match Login::authenticate(&login.own, login.came, (address, password)).await? {
        Ok(proved) if proved.account.user == login.cookie.user => Ok(()),
        Ok(_) => Err("The account is another one now: sign in again.".into()),
        Err(AuthRefusal::WrongCredentials | AuthRefusal::Disabled) => {
            Err("That is not the password you have.".into())
        }
        Err(AuthRefusal::Throttled | AuthRefusal::Unavailable) => {
            Err("Not now: wait a minute, then try again.".into())
        }
    })
}

async fn stored(login: &Login, secret: &str) -> Done<String> {
    let made = crate::admin::stored_form(&login.web.hashes, secret).await;
    Ok(made.map_err(|status| super::trouble::capital(status.message())))
}

async fn change_password(login: &Login, form: &Fields) -> Done<()> {
    let fresh = form.get("fresh");
    if fresh != form.get("again") {
        return Ok(Err("The two new passwords differ.".into()));
    }
    if fresh.chars().count() < PASSWORD_CHARS_MIN {
        return Ok(Err(format!(
            "The new password needs {PASSWORD_CHARS_MIN} characters at least."
        )));
    }
    // A form of the operator's that names a stored hash is not for users.
    if fresh.starts_with('{') {
        return Ok(Err("The new password must not begin with a brace.".into()));
    }
    if let Err(why) = prove(login, form).await? {
        return Ok(Err(why));
    }
    let phc = match stored(login, fresh).await? {
        Ok(phc) => phc,
        Err(why) => return Ok(Err(why)),
    };
    let address = login.browser.address.clone();
    if let Err(why) = order(login, AdminTask::AccountPassword { address, phc }).await? {
        return Ok(Err(why));
    }
    end_others(login).await?;
    Ok(Ok(()))
}

/// Codes as a person keeps them, and as the directory does.
fn draw_codes(login: &Login) -> Result<(Vec<String>, Vec<[u8; 32]>), Trouble> {
    let codes: Vec<String> =
        (0..RECOVERY_CODES).map(|_| drawn()).collect::<Result<_, Trouble>>()?;
    let kept = codes.iter().map(|code| recovery_hash(login.cookie.user, code.as_bytes()));
    Ok((codes.iter().map(|code| grouped(code, '-')).collect(), kept.collect()))
}

/// Random letters that nobody guesses.
fn drawn() -> Result<String, Trouble> {
    let mut bytes = [0; CODE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(base32(&bytes))
}

async fn factor_on(login: &Login, form: &Fields) -> Result<Response, Trouble> {
    let letters = form.get("secret").to_owned();
    let Some(secret) = from_base32(&letters).and_then(|bytes| TotpSecret::new(&bytes)) else {
        return Err(Trouble::Wrong("The form did not arrive whole: open its page again.".into()));
    };
    let refused = |why| second_factor::offered(login, letters.clone(), Some(Notice::failed(why)));
    if let Err(why) = prove(login, form).await? {
        return refused(why).await;
    }
    let (codes, recovery) = draw_codes(login)?;
    let (address, code) = (login.browser.address.clone(), form.get("code").to_owned());
    let task = AdminTask::SecondFactorOn { address, secret, code, recovery };
    if let Err(why) = order(login, task).await? {
        return refused(why).await;
    }
    end_others(login).await?;
    show_codes(login, codes, "The second factor is on. Everywhere else you have to sign in again.")
        .await
}

/// The password alone is not enough to be rid of what guards it.
async fn prove_both(login: &Login, form: &Fields) -> Done<()> {
    if let Err(why) = prove(login, form).await? {
        return Ok(Err(why));
    }
    Ok(match second_factor::check(login, form.get("code")).await? {
        Ok(()) => Ok(()),
        Err(AuthRefusal::WrongCredentials | AuthRefusal::Disabled) => {
            Err("That code is not right, or was used already: wait for the next one.".into())
        }
        Err(AuthRefusal::Throttled | AuthRefusal::Unavailable) => {
            Err("Not now: wait a minute, then try again.".into())
        }
    })
}

async fn factor_off(login: &Login, form: &Fields) -> Done<()> {
    if let Err(why) = prove_both(login, form).await? {
        return Ok(Err(why));
    }
    let address = login.browser.address.clone();
    let done = order(login, AdminTask::SecondFactorOff { address }).await?;
    end_others(login).await?;
    Ok(done.map(drop))
}

async fn new_recovery(login: &Login, form: &Fields) -> Done<Vec<String>> {
    if let Err(why) = prove_both(login, form).await? {
        return Ok(Err(why));
    }
    let (codes, recovery) = draw_codes(login)?;
    let address = login.browser.address.clone();
    let done = order(login, AdminTask::SecondFactorRecovery { address, recovery }).await?;
    Ok(done.map(|_| codes))
}

async fn show_codes(login: &Login, codes: Vec<String>, told: &str) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Recovery codes · Hikyaku".into();
    frame.notice = Some(Notice::done(told));
    shown(&CodesPage { frame, codes })
}

/// The label and the password, which is shown once.
async fn add_app_password(login: &Login, form: &Fields) -> Done<(String, String)> {
    let chosen = SCOPES.iter().filter(|(name, _)| form.all("scope").any(|it| it == *name));
    let protocols: Vec<Protocol> = chosen.flat_map(|(_, scope)| scope.iter().copied()).collect();
    if protocols.is_empty() {
        return Ok(Err("Choose what the app password is for.".into()));
    }
    let label = form.get("label").trim().to_owned();
    if label.is_empty() {
        return Ok(Err("Give the app password a name, so that you know it later.".into()));
    }
    if let Err(why) = prove(login, form).await? {
        return Ok(Err(why));
    }
    let secret = grouped(&drawn()?.to_lowercase(), '-');
    let phc = match stored(login, &secret).await? {
        Ok(phc) => phc,
        Err(why) => return Ok(Err(why)),
    };
    let address = login.browser.address.clone();
    let protocols = Some(protocols);
    let task = AdminTask::CredentialAdd { address, label: label.clone(), phc, protocols };
    Ok(order(login, task).await?.map(|_| (label, secret)))
}
