//! `extension`: what an operator may do with one.

use super::args::{Cli, ExtensionCommand, RewindArgs};
use super::client::{connect, told};
use super::output;
use crate::admin::api;
use anyhow::bail;
use jiff::civil::DateTime;
use jiff::{Span, Timestamp, Zoned};
use std::process::ExitCode;

pub async fn extension(cli: &Cli, command: &ExtensionCommand) -> anyhow::Result<ExitCode> {
    match command {
        ExtensionCommand::Rewind(args) => rewind(cli, args).await,
    }
}

async fn rewind(cli: &Cli, args: &RewindArgs) -> anyhow::Result<ExitCode> {
    let (to, since) = match (&args.to.since, args.to.kept) {
        (Some(text), _) => ("time", time(text, &Zoned::now())?.as_second()),
        (None, true) => ("kept", 0),
        (None, false) => ("reset", 0),
    };
    let request = api::ExtensionRewindRequest {
        extension: args.name.clone(),
        account: args.account.clone().unwrap_or_default(),
        to: to.to_owned(),
        since,
    };
    let reply = connect(cli).await?.extension_rewind(request).await;
    let done = reply.map_err(|status| told(&status))?.into_inner();
    if cli.json {
        output::json(&done)?;
    } else {
        output::text(&format!(
            "{} mailboxes give events once more, {} begin with a reset\n",
            done.rewound, done.reset
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `2026-11-28T08:00:00Z`, `2026-11-28 08:00` and `2026-11-28` (here), `24h`.
fn time(text: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Ok(local.to_zoned(now.time_zone().clone())?.timestamp());
    }
    if let Ok(ago) = text.parse::<Span>() {
        return Ok(now.checked_sub(ago.abs())?.timestamp());
    }
    bail!(
        "{text}: no time; there is 2026-11-28, \"2026-11-28 08:00\", 2026-11-28T08:00:00Z, and 24h or 2days for so long ago"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-11-28T12:00:00+01:00[Europe/Zurich]".parse().expect("a time");
        let read = |text| time(text, &now).map(|it| it.to_string()).ok();
        for (text, wanted) in [
            ("2026-11-27T08:00:00Z", "2026-11-27T08:00:00Z"),
            ("2026-11-27 08:00", "2026-11-27T07:00:00Z"),
            ("2026-11-27", "2026-11-26T23:00:00Z"),
            ("24h", "2026-11-27T11:00:00Z"),
            ("2 days", "2026-11-26T11:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted), "{text}");
        }
        assert_eq!(read("yesterday"), None);
    }
}
