//! Pages of domains and aliases, and what their forms order.

use super::accounts::typed_size;
use super::signed::Signed;
use super::{Fields, Trouble, escaped, page};
use crate::admin::api::{self, admin_server::Admin};
use crate::config::Size;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::Uri;
use axum::response::Response;
use operator_console::pages::{ConfirmPage, DomainPage, DomainsPage, Part};
use tonic::Request;

pub async fn list(signed: Signed, uri: Uri) -> Result<Response, Trouble> {
    let chosen = Fields::of_query(&uri).get("of").to_owned();
    let of = (!chosen.is_empty()).then(|| chosen.clone());
    let (domains, aliases) = tokio::join!(signed.console.domains(), signed.console.aliases(of));
    let frame = signed.frame(Part::Domains, "Domains and aliases");
    page(&DomainsPage { frame, domains: domains?, aliases: aliases?, chosen })
}

impl Signed {
    fn note_names(&self, done: bool, order: &str, name: &str) {
        if done {
            self.note("console", vec![("order", order.to_owned()), ("name", name.to_owned())]);
        }
    }
}

pub async fn add(signed: Signed, body: Bytes) -> Result<Response, Trouble> {
    let domain = signed.form(&body)?.get("domain").to_owned();
    let request = Request::new(api::DomainAddRequest { domain: domain.clone() });
    let done = signed.console.service.domain_add(request).await;
    signed.note_names(done.is_ok(), "domain add", &domain);
    let what = format!("{domain} is added, with postmaster and abuse.");
    Ok(signed.done(done, what, "/domains"))
}

pub async fn show(signed: Signed, Path(name): Path<String>) -> Result<Response, Trouble> {
    let found = signed.console.domains().await?.into_iter().find(|it| it.domain == name);
    let Some(domain) = found else {
        return Err(Trouble::NotFound(format!("There is no domain {name}.")));
    };
    let quota = domain.default_quota_bytes.map(|bytes| Size(bytes).to_string()).unwrap_or_default();
    page(&DomainPage { frame: signed.frame(Part::Domains, &name), domain, quota })
}

pub async fn set(
    signed: Signed,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Trouble> {
    let form = signed.form(&body)?;
    let done = match typed_size(form.get("quota")) {
        Ok(bytes) => {
            let request = api::DomainSetRequest {
                domain: name.clone(),
                catch_all: Some(form.get("catch_all").to_owned()),
                subaddress_separator: Some(form.get("separator").to_owned()),
                default_quota_bytes: Some(bytes),
            };
            signed.console.service.domain_set(Request::new(request)).await.map(|_| ())
        }
        Err(status) => Err(status),
    };
    signed.note_names(done.is_ok(), "domain set", &name);
    let what = "The settings are saved.".to_owned();
    Ok(signed.done(done, what, &format!("/domains/{}", escaped(&name))))
}

pub async fn ask_remove(signed: Signed, Path(name): Path<String>) -> Result<Response, Trouble> {
    page(&ConfirmPage {
        frame: signed.frame(Part::Domains, &format!("Remove domain {name}?")),
        says: vec![
            "Mail for it is refused from then on, and its aliases go. That is refused while it has accounts.".to_owned(),
        ],
        action: format!("/domains/{}/remove", escaped(&name)),
        fields: Vec::new(),
        button: "Remove it".to_owned(),
        grave: true,
        back: "/domains".to_owned(),
        command: format!("hikyaku domain remove {name}"),
    })
}

pub async fn remove(
    signed: Signed,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Trouble> {
    signed.form(&body)?;
    let request = Request::new(api::DomainRemoveRequest { domain: name.clone() });
    let done = signed.console.service.domain_remove(request).await;
    signed.note_names(done.is_ok(), "domain remove", &name);
    Ok(signed.done(done, format!("{name} is removed."), "/domains"))
}

pub async fn add_alias(signed: Signed, body: Bytes) -> Result<Response, Trouble> {
    let form = signed.form(&body)?;
    let alias = form.get("alias").to_owned();
    let targets = form.get("targets").split([',', ' ']).filter(|it| !it.is_empty());
    let targets: Vec<String> = targets.map(str::to_owned).collect();
    let what = format!("{alias} leads to {}.", targets.join(", "));
    let request =
        api::AliasAddRequest { alias: Some(api::Alias { alias: alias.clone(), targets }) };
    let done = signed.console.service.alias_add(Request::new(request)).await;
    signed.note_names(done.is_ok(), "alias add", &alias);
    Ok(signed.done(done, what, "/domains#aliases"))
}

pub async fn ask_alias(signed: Signed, Path(alias): Path<String>) -> Result<Response, Trouble> {
    page(&ConfirmPage {
        frame: signed.frame(Part::Domains, &format!("Remove alias {alias}?")),
        says: vec![
            "Mail for it is refused from then on, unless unknown users of its domain go somewhere."
                .to_owned(),
        ],
        action: format!("/aliases/{}/remove", escaped(&alias)),
        fields: Vec::new(),
        button: "Remove it".to_owned(),
        grave: true,
        back: "/domains#aliases".to_owned(),
        command: format!("hikyaku alias remove {alias}"),
    })
}

pub async fn remove_alias(
    signed: Signed,
    Path(alias): Path<String>,
    body: Bytes,
) -> Result<Response, Trouble> {
    signed.form(&body)?;
    let request = Request::new(api::AliasRemoveRequest { alias: alias.clone() });
    let done = signed.console.service.alias_remove(request).await;
    signed.note_names(done.is_ok(), "alias remove", &alias);
    Ok(signed.done(done, format!("{alias} is removed."), "/domains#aliases"))
}
