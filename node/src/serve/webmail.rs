//! Starts the listeners of the webmail, and what else is opened once the node is ready.

use super::bridge::Bridge;
use super::control::NodeControl;
use crate::config::{Address, Config, Listener, Service, TlsMode};
use crate::control::{Control, Kick};
use crate::edge::ListenerState;
use crate::tls::TlsContext;
use crate::web::{HELD_MAX, UPLOADS_MAX, Web, WebServer};
use anyhow::Context;
use mailstore::face::{
    Collection, Completion, Expect, RecordChange, RecordTask, Task, UserDone, UserTask,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long messages that are held may take to leave when the node stops. Our choice.
const HELD_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// The running listeners.
pub struct Webmail {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Messages that are held for a moment.
    holding: Arc<Semaphore>,
    /// Where a browser finds it, without TLS when it may.
    pub url: Option<String>,
    listeners: Vec<Arc<ListenerState>>,
}

impl Webmail {
    /// Listens wherever `[listen]` says so.
    pub async fn start(
        control: &Arc<NodeControl>,
        (config, hostname): (&Config, Arc<str>),
        tls: &Arc<TlsContext>,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let holding = Arc::new(Semaphore::new(HELD_MAX as usize));
        let mut started = Self {
            stop,
            tasks: JoinSet::new(),
            holding: Arc::clone(&holding),
            url: None,
            listeners: Vec::new(),
        };
        let web = Arc::new(Web {
            control: Arc::<NodeControl>::clone(control),
            present: Arc::clone(&control.present),
            hashes: Arc::clone(control.bridge.pool().context("the pool runs by now")?),
            hostname,
            public_url: config
                .http
                .public_url
                .clone()
                .map(|it| it.trim_end_matches('/').to_owned()),
            trusted_proxies: config.http.trusted_proxies.clone(),
            uploads: Semaphore::new(UPLOADS_MAX),
            holding,
            stopped: stopped.clone(),
        });
        // HTTPS first: who comes without it has to be told where it is.
        let mut https_port = None;
        for service in [Service::Https, Service::Http] {
            let ours = config.listen.listeners.iter().filter(|it| it.service == service);
            for listener in ours {
                let bound = bind(config, listener).await?;
                let address = bound.local_addr()?;
                let secure = listener.tls == TlsMode::Implicit;
                if secure {
                    https_port.get_or_insert(address.port());
                }
                println!("listening {} {address}", service.name());
                let scheme = if secure { "https" } else { "http" };
                if secure && started.url.is_none() || !secure && address.ip().is_loopback() {
                    started.url = Some(format!("{scheme}://{address}/"));
                }
                let tls = secure.then(|| Arc::clone(tls));
                let state = Arc::new(ListenerState::new(listener.clone(), address.to_string()));
                started.listeners.push(Arc::clone(&state));
                let server = WebServer { web: Arc::clone(&web), tls, https_port, state };
                started.tasks.spawn(crate::web::serve(bound, server, stopped.clone()));
            }
        }
        Ok(started)
    }

    /// Ends: requests under way are answered, and what is held is sent.
    pub async fn stop(mut self) {
        // The tasks end when they are told, or have ended.
        let _told = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        // What is not out by then stays in Drafts.
        let sent = self.holding.acquire_many(HELD_MAX);
        let _ = tokio::time::timeout(HELD_TIME, sent).await;
    }
}

impl NodeControl {
    /// Signs out browsers; how many.
    pub(super) async fn sign_out(&self, whom: &Kick) -> u64 {
        let mut ended = 0;
        for key in self.present.meant(whom, Instant::now()) {
            let (collection, expect) = (Collection::BrowserSessions, Expect::Anything);
            let (user, name) = (key.0, key.1.clone());
            let change = RecordChange { collection, name, expect, value: None };
            let task = UserTask::Records(RecordTask::Write(vec![change]));
            let session = self.open_session();
            let done = self.bridge.submit(session, Task::User { user, task }).await;
            self.close_session(session);
            if matches!(done, Some(Completion::User(UserDone::Records(_)))) {
                self.present.forget(&key);
                ended += 1;
            }
        }
        ended
    }
}

/// Postfix and browsers are let in; with `demo` there is something to see.
pub async fn open_doors(
    control: &Arc<NodeControl>,
    (config, hostname): (&Config, Arc<str>),
    demo: bool,
) -> anyhow::Result<Webmail> {
    super::socketmap::serve(control, config).await?;
    let webmail = Webmail::start(control, (config, hostname), &control.bridge.tls).await?;
    control.web_listeners.get_or_init(|| webmail.listeners.clone());
    if demo {
        show_demo(control, &control.bridge, webmail.url.as_deref()).await?;
    }
    Ok(webmail)
}

/// Makes the demonstration domain and tells how to look at it.
async fn show_demo(
    control: &Arc<NodeControl>,
    bridge: &Bridge,
    webmail: Option<&str>,
) -> anyhow::Result<()> {
    let pool = bridge.pool().context("the pool runs by now")?;
    let node: Arc<dyn crate::control::Control> = Arc::<NodeControl>::clone(control);
    crate::demo::install(&node, pool).await?;
    let listeners = bridge.listeners.iter();
    let of = |name: &str| {
        let found = listeners.clone().find(|state| state.config.service.name() == name);
        found.map_or_else(|| "(not served)".to_owned(), |state| state.address.to_string())
    };
    let webmail = webmail.unwrap_or("(not served)");
    println!("{}", crate::demo::greeting(webmail, &of("imap"), &of("smtp"), &of("submission")));
    Ok(())
}

async fn bind(config: &Config, listener: &Listener) -> anyhow::Result<TcpListener> {
    let name = listener.service.name();
    let address = match &listener.address {
        Address::Tcp(address) => *address,
        Address::Unix(_) => {
            anyhow::bail!(
                "listen.{name}: webmail is not served on a unix socket: give an address and a port"
            )
        }
    };
    match TcpListener::bind(address).await {
        Ok(bound) => Ok(bound),
        // As with the mail protocols: a default port that is taken does not keep a first start from working.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && config.listen.is_default() => {
            eprintln!(
                "hikyaku: {address} is taken, {name} listens on another port; set listen.{name} in cluster.toml to \
                 choose one"
            );
            Ok(TcpListener::bind(SocketAddr::new(address.ip(), 0)).await?)
        }
        Err(error) => Err(error).with_context(|| {
            format!("{name} can't listen on {address}: is another server running there? Change listen.{name}")
        }),
    }
}
