//! `domain`, `alias` and `account`.

use super::args::{
    AccountCommand, AccountListArgs, AccountSetArgs, AliasCommand, Cli, DomainCommand,
    DomainSetArgs, PasswordArgs,
};
use super::client::{Client, connect, told};
use super::output;
use crate::admin::api;
use crate::config::Size;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use zeroize::Zeroizing;

/// Lines on their way to the node.
const LINES_AHEAD: usize = 64;
/// Bytes of the longest password that is read. The node takes less.
const PASSWORD_BYTES_MAX: u64 = 16 * 1024;

pub async fn domain(cli: &Cli, command: &DomainCommand) -> anyhow::Result<ExitCode> {
    let mut client = connect(cli).await?;
    match command {
        DomainCommand::Add { domain } => {
            let request = api::DomainAddRequest { domain: domain.clone() };
            client.domain_add(request).await.map_err(|status| told(&status))?;
        }
        DomainCommand::Remove { domain } => {
            let request = api::DomainRemoveRequest { domain: domain.clone() };
            client.domain_remove(request).await.map_err(|status| told(&status))?;
        }
        DomainCommand::Set(args) => {
            let request = domain_set(args)?;
            client.domain_set(request).await.map_err(|status| told(&status))?;
        }
        DomainCommand::List => {
            let reply = client.domain_list(api::DomainListRequest {}).await;
            let domains = reply.map_err(|status| told(&status))?.into_inner().domains;
            if cli.json {
                output::json(&domains)?;
            } else {
                let header = ["DOMAIN", "ACCOUNTS", "CATCH-ALL", "SEPARATOR", "DEFAULT QUOTA"];
                let row = |it: &api::Domain| {
                    vec![
                        it.domain.clone(),
                        it.accounts.to_string(),
                        it.catch_all.clone().unwrap_or_else(none),
                        it.subaddress_separator.clone().unwrap_or_else(none),
                        quota(it.default_quota_bytes),
                    ]
                };
                output::table(&header, &domains.iter().map(row).collect::<Vec<_>>())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn none() -> String {
    "-".to_owned()
}

fn quota(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unlimited".to_owned(), output::size)
}

/// `none` takes a setting away: the empty text, or 0, in the API.
fn text_or_none(text: &str) -> String {
    if text == "none" { String::new() } else { text.to_owned() }
}

fn size_or_none(option: &str, text: &str) -> anyhow::Result<u64> {
    if text == "none" {
        return Ok(0);
    }
    match Size::parse(text) {
        Ok(Size(0)) => bail!("{option} 0 would refuse everything: say none for no limit"),
        Ok(size) => Ok(size.0),
        Err(reason) => bail!("{option}: {reason}"),
    }
}

fn domain_set(args: &DomainSetArgs) -> anyhow::Result<api::DomainSetRequest> {
    let quota = args.default_quota.as_deref();
    let request = api::DomainSetRequest {
        domain: args.domain.clone(),
        catch_all: args.catch_all.as_deref().map(text_or_none),
        subaddress_separator: args.separator.as_deref().map(text_or_none),
        default_quota_bytes: quota.map(|it| size_or_none("--default-quota", it)).transpose()?,
    };
    let is_empty = request.catch_all.is_none()
        && request.subaddress_separator.is_none()
        && request.default_quota_bytes.is_none();
    if is_empty {
        bail!("nothing to set: name --catch-all, --separator or --default-quota");
    }
    Ok(request)
}

pub async fn alias(cli: &Cli, command: &AliasCommand) -> anyhow::Result<ExitCode> {
    let mut client = connect(cli).await?;
    match command {
        AliasCommand::Add { alias, targets } => {
            let alias = Some(api::Alias { alias: alias.clone(), targets: targets.clone() });
            let request = api::AliasAddRequest { alias };
            client.alias_add(request).await.map_err(|status| told(&status))?;
        }
        AliasCommand::Remove { alias } => {
            let request = api::AliasRemoveRequest { alias: alias.clone() };
            client.alias_remove(request).await.map_err(|status| told(&status))?;
        }
        AliasCommand::List { domain } => {
            let reply = client.alias_list(api::AliasListRequest { domain: domain.clone() }).await;
            let aliases = reply.map_err(|status| told(&status))?.into_inner().aliases;
            if cli.json {
                output::json(&aliases)?;
            } else {
                let row = |it: &api::Alias| vec![it.alias.clone(), it.targets.join(" ")];
                let rows: Vec<_> = aliases.iter().map(row).collect();
                output::table(&["ALIAS", "LEADS TO"], &rows)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn account(cli: &Cli, command: &AccountCommand) -> anyhow::Result<ExitCode> {
    match command {
        AccountCommand::Add { address, password } => {
            let secret = read_password(password)?;
            let request =
                api::AccountAddRequest { address: address.clone(), secret: secret.to_string() };
            let mut client = connect(cli).await?;
            client.account_add(request).await.map_err(|status| told(&status))?;
        }
        AccountCommand::Remove { address } => {
            let request = api::AccountRemoveRequest { address: address.clone() };
            let mut client = connect(cli).await?;
            client.account_remove(request).await.map_err(|status| told(&status))?;
        }
        AccountCommand::List(args) => list(cli, args).await?,
        AccountCommand::Password { address, password } => {
            let secret = read_password(password)?;
            let request = api::AccountPasswordRequest {
                address: address.clone(),
                secret: secret.to_string(),
            };
            let mut client = connect(cli).await?;
            client.account_password(request).await.map_err(|status| told(&status))?;
        }
        AccountCommand::Enable { address } => enable(cli, address, Enabled::Yes).await?,
        AccountCommand::Disable { address } => enable(cli, address, Enabled::No).await?,
        AccountCommand::SecondFactorOff { address } => {
            let request = api::AccountSecondFactorOffRequest { address: address.clone() };
            let mut client = connect(cli).await?;
            client.account_second_factor_off(request).await.map_err(|status| told(&status))?;
        }
        AccountCommand::Set(args) => {
            let request = account_set(args)?;
            let mut client = connect(cli).await?;
            client.account_set(request).await.map_err(|status| told(&status))?;
        }
        AccountCommand::Import { file } => return import(cli, file).await,
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Enabled {
    Yes,
    No,
}

async fn enable(cli: &Cli, address: &str, enabled: Enabled) -> anyhow::Result<()> {
    let on = enabled == Enabled::Yes;
    let request = api::AccountEnableRequest { address: address.to_owned(), on };
    connect(cli).await?.account_enable(request).await.map_err(|status| told(&status))?;
    Ok(())
}

fn account_set(args: &AccountSetArgs) -> anyhow::Result<api::AccountSetRequest> {
    let count = |text: &str| match text {
        "none" => Ok(0),
        text => match text.parse::<u64>() {
            Ok(count) if count > 0 => Ok(count),
            Ok(_) | Err(_) => bail!("--quota-messages: {text:?} must be a number from 1, or none"),
        },
    };
    let quota = args.quota.as_deref();
    let request = api::AccountSetRequest {
        address: args.address.clone(),
        quota_bytes: quota.map(|it| size_or_none("--quota", it)).transpose()?,
        quota_messages: args.quota_messages.as_deref().map(count).transpose()?,
        display_name: args.name.clone(),
    };
    let is_empty = request.quota_bytes.is_none()
        && request.quota_messages.is_none()
        && request.display_name.is_none();
    if is_empty {
        bail!("nothing to set: name --quota, --quota-messages or --name");
    }
    Ok(request)
}

async fn list(cli: &Cli, args: &AccountListArgs) -> anyhow::Result<()> {
    let mut client = connect(cli).await?;
    let request = api::AccountListRequest {
        domain: args.domain.clone(),
        search: args.search.clone().unwrap_or_default(),
        offset: args.offset,
        limit: args.limit.unwrap_or(0),
        usage: args.usage,
    };
    let reply = client.account_list(request).await;
    let accounts = reply.map_err(|status| told(&status))?.into_inner().accounts;
    if cli.json {
        return output::json(&accounts);
    }
    let row = |it: &api::Account| {
        let mut row = vec![
            it.address.clone(),
            if it.enabled { "enabled" } else { "disabled" }.to_owned(),
            quota(it.quota_bytes),
            it.quota_messages.map_or_else(|| "unlimited".to_owned(), |count| count.to_string()),
        ];
        if args.usage {
            let unknown = || "unknown".to_owned();
            row.push(it.bytes_used.map_or_else(unknown, output::size));
            row.push(it.messages_used.map_or_else(unknown, |count| count.to_string()));
            row.push(it.node.clone().unwrap_or_else(unknown));
        }
        row.push(it.display_name.clone());
        row
    };
    let mut header = vec!["ACCOUNT", "STATE", "QUOTA", "MESSAGES"];
    if args.usage {
        header.extend(["USED", "MESSAGES", "NODE"]);
    }
    header.push("NAME");
    Ok(output::table(&header, &accounts.iter().map(row).collect::<Vec<_>>())?)
}

/// The first line of the file that was named.
fn read_password(args: &PasswordArgs) -> anyhow::Result<Zeroizing<String>> {
    let Some(path) = &args.password_file else {
        bail!(
            "no password: name a file with --password-file FILE, or - for standard input (a \
             password on the command line would be seen by everybody on this machine)"
        );
    };
    let mut line = Zeroizing::new(String::new());
    BufReader::new(open(path)?.take(PASSWORD_BYTES_MAX))
        .read_line(&mut line)
        .with_context(|| format!("{}", path.display()))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("{}: the first line is empty; it must be the password", path.display());
    }
    Ok(Zeroizing::new(password.to_owned()))
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = std::fs::File::open(path).with_context(|| format!("{}", path.display()))?;
    Ok(Box::new(file))
}

async fn import(cli: &Cli, path: &Path) -> anyhow::Result<ExitCode> {
    let mut text = Zeroizing::new(String::new());
    open(path)?.read_to_string(&mut text).with_context(|| format!("{}", path.display()))?;
    let lines: Vec<(u64, &str)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .collect();
    let mut client = connect(cli).await?;
    let bar = ProgressBar::new(lines.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} {pos}/{len} accounts, {per_sec}, {eta} left",
    )?);
    let refused = send_accounts(&mut client, &lines, &bar).await?;
    bar.finish_and_clear();
    let made = lines.len() - refused.len();
    if cli.json {
        let refused: Vec<_> = refused
            .iter()
            .map(|(line, reason)| serde_json::json!({"line": line, "reason": reason}))
            .collect();
        output::json(&serde_json::json!({"made": made, "refused": refused}))?;
    } else {
        for (line, reason) in &refused {
            eprintln!("{}:{line}: {reason}", path.display());
        }
        output::text(&format!("{made} accounts made, {} lines refused\n", refused.len()))?;
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends all lines; those that were refused, by number.
async fn send_accounts(
    client: &mut Client,
    lines: &[(u64, &str)],
    bar: &ProgressBar,
) -> anyhow::Result<Vec<(u64, String)>> {
    let mut refused = Vec::new();
    let mut requests = Vec::new();
    for (line, text) in lines {
        match text.split_once(':') {
            Some((address, secret)) if address.contains('@') && !secret.is_empty() => {
                requests.push(api::AccountImportRequest {
                    line: *line,
                    address: address.trim().to_owned(),
                    secret: secret.trim_end_matches('\r').to_owned(),
                });
            }
            Some(_) | None => {
                refused
                    .push((*line, "must be address:password or address:{SCHEME}hash".to_owned()));
                bar.inc(1);
            }
        }
    }
    let wanted = requests.len();
    let (to, from) = mpsc::channel(LINES_AHEAD);
    tokio::spawn(async move {
        for request in requests {
            if to.send(request).await.is_err() {
                break;
            }
        }
    });
    let replies = client.account_import(ReceiverStream::new(from)).await;
    let mut replies = replies.map_err(|status| told(&status))?.into_inner();
    let mut answered = 0;
    while let Some(reply) = replies.next().await {
        let reply = reply.map_err(|status| told(&status))?;
        answered += 1;
        bar.inc(1);
        refused.extend(reply.refused.map(|reason| (reply.line, reason)));
    }
    if answered != wanted {
        bail!("the node answered {answered} of {wanted} lines; run the import again");
    }
    refused.sort_unstable();
    Ok(refused)
}
