//! Starts and stops the extensions: those that are part of the program, and the listener for the others.

use super::control::NodeControl;
use crate::config::{Address, Config, Service as Protocol};
use crate::control::Control;
use crate::extensions::{
    Deciding, ExtensionServer, Grants, INDEX, Inside, Service, serve, start_all,
};
use anyhow::Context;
use mailstore::face::{Scope, Subscriber, Subscription};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What runs.
pub struct Extensions {
    inside: Inside,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
}

impl Extensions {
    /// Whoever the file names may call from now on; without a name nobody may, and nothing listens.
    pub async fn start(control: &Arc<NodeControl>, config: &Config) -> anyhow::Result<Self> {
        let node: Arc<dyn Control> = Arc::<NodeControl>::clone(control);
        let registry = Arc::clone(&control.extensions);
        let (index, store) = (Arc::clone(&control.bridge.index), Arc::clone(&control.store));
        let follower = move || index.follower(Arc::clone(&store));
        let inside = Inside::new(Arc::clone(&node), Arc::clone(&registry));
        let inside = start_all(inside, control.map, follower);
        let bridge = Arc::clone(&control.bridge);
        let decided = move |session, token, said| bridge.decided(session, token, said);
        let deciding = Deciding::start(&config.extensions, &registry, Box::new(decided));
        if let Some(deciding) = &deciding {
            control.bridge.join_deciding(deciding.clone());
        }
        let (stop, stopped) = watch::channel(false);
        let mut listeners = JoinSet::new();
        let places = config.listen.listeners.iter();
        for listener in places.filter(|it| it.service == Protocol::Extensions) {
            if config.extensions.is_empty() {
                break;
            }
            let bound = bind(config, &listener.address).await?;
            let address = bound.local_addr()?;
            println!("listening extensions {address}");
            let grants = Grants::load(&config.extensions, &control.data)?;
            let tls = !address.ip().is_loopback();
            let server = ExtensionServer {
                service: Service::new(
                    Arc::clone(&node),
                    grants,
                    (Arc::clone(&registry), control.map),
                    deciding.clone(),
                ),
                tls: tls.then(|| Arc::clone(&control.bridge.tls)),
            };
            listeners.spawn(serve(bound, server, stopped.clone()));
        }
        Ok(Self { inside, stop, listeners })
    }

    /// Ends all of them.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
        self.inside.stop().await;
    }
}

async fn bind(config: &Config, address: &Address) -> anyhow::Result<TcpListener> {
    let address = match address {
        Address::Tcp(address) => *address,
        Address::Unix(_) => anyhow::bail!(
            "listen.extensions: extensions are not served on a unix socket: give an address and a port"
        ),
    };
    match TcpListener::bind(address).await {
        Ok(bound) => Ok(bound),
        // As with the mail protocols: a default port that is taken does not keep a first start from working.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && config.listen.is_default() => {
            eprintln!(
                "hikyaku: {address} is taken, extensions listens on another port; set listen.extensions in \
                 cluster.toml to choose one"
            );
            Ok(TcpListener::bind(SocketAddr::new(address.ip(), 0)).await?)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "extensions can't listen on {address}: is another server running there? Change listen.extensions"
            )
        }),
    }
}

/// New mailboxes keep their events for these from the first one on.
pub fn subscriptions(config: &Config) -> Vec<Subscription> {
    let of_file = config.extensions.iter().filter_map(|(name, extension)| {
        let follows = extension.verbs.contains(&crate::config::Verb::Subscribe);
        let subscriber = Subscriber::new(name).filter(|_| follows)?;
        Some(Subscription { subscriber, scope: extension.scope() })
    });
    let index = Subscriber::new(INDEX)
        .map(|subscriber| Subscription { subscriber, scope: Scope::Everybody });
    of_file.chain(index).collect()
}
