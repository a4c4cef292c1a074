use super::*;

fn read(text: &str) -> (Config, Vec<Finding>) {
    Config::read(text, Path::new("/etc/hikyaku"))
}

fn keys(text: &str) -> Vec<String> {
    read(text).1.into_iter().map(|finding| finding.key).collect()
}

const SHIPPED: &str = include_str!("../../../cluster.toml");

#[test]
fn an_empty_file_is_a_single_node() {
    let (config, findings) = read("");
    assert_eq!(findings, []);
    assert_eq!(config.node.len(), 1);
    assert_eq!(config.node[0].data, Path::new("/etc/hikyaku/hikyaku-data"));
    let imap = config.listen.first(Service::Imap).expect("served by default");
    assert_eq!(imap.address.to_string(), "127.0.0.1:2143");
    assert_eq!(imap.tls, TlsMode::StartTls);
    assert_eq!(config.listen.first(Service::Imaps).expect("served").tls, TlsMode::Implicit);
    assert_eq!(config.listen.first(Service::Http).expect("served").tls, TlsMode::Off);
    let extensions = config.listen.first(Service::Extensions).expect("served by default");
    assert_eq!(extensions.address.to_string(), "127.0.0.1:2702");
}

#[test]
fn the_shipped_file_configures_the_default() {
    let (config, findings) = read(SHIPPED);
    assert_eq!(findings, []);
    assert_eq!(config.to_toml(), read("").0.to_toml());
}

/// The commented form stands between two marks; every line of it begins with `# `.
#[test]
fn the_commented_three_node_form_of_the_shipped_file_parses() {
    let from = SHIPPED.find("# --- three nodes ---").expect("the first mark");
    let to = SHIPPED.find("# --- end of three nodes ---").expect("the second mark");
    let lines = SHIPPED[from..to].lines().skip(1);
    let text: String =
        lines.map(|line| format!("{}\n", line.trim_start_matches('#').trim_start())).collect();
    let (config, findings) = read(&text);
    assert_eq!(config.node.len(), 3, "{text}");
    assert_eq!(findings, []);
    assert_eq!(config.cluster.min_in_sync, 2);
}

#[test]
fn every_error_is_listed_with_its_key() {
    let text = r#"
        typo = 1
        [cluster]
        partitions = 1000
        replicas = "three"
        fill_rate = "0 B"
        [limits]
        message_size = 50
        login_tme = "30 s"
        [listen]
        imap = "localhost:143"
        pop3 = { address = "127.0.0.1:110", tls = "ssl", colour = "red" }
        lmtp = "0.0.0.0:24"
        extensions = "127.0.0.1:80"
        [store]
        space_low = "1 MiB"
        [tls]
        certificate = "a.pem"
        [extensions.spam]
        command = "x"
    "#;
    let (_, findings) = read(text);
    let keys: Vec<&str> = findings.iter().map(|finding| finding.key.as_str()).collect();
    for key in [
        "typo",
        "cluster.partitions",
        "cluster.replicas",
        "cluster.fill_rate",
        "limits.message_size",
        "limits.login_tme",
        "listen.imap",
        "listen.pop3.tls",
        "listen.pop3.colour",
        "listen.lmtp",
        "listen.extensions",
        "store.space_exhausted",
        "tls.key",
        "extensions",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert_eq!(keys.len(), 14, "{findings:?}");
    let typo = findings.iter().find(|finding| finding.key == "limits.login_tme");
    assert!(typo.expect("listed").reason.contains("login_time"));
}

#[test]
fn listeners_are_addresses_sockets_or_tables() {
    let (config, findings) = read(
        r#"
        [listen]
        imap = ["0.0.0.0:143", "[::]:auto"]
        smtp = "auto"
        lmtp = { address = "unix:run/lmtp", mode = "0660" }
        pop3 = { address = "127.0.0.1:110", proxy_protocol_from = ["10.0.0.0/8"] }
        "#,
    );
    assert_eq!(findings, []);
    let shown: Vec<String> = config
        .listen
        .listeners
        .iter()
        .map(|listener| format!("{} {}", listener.service.name(), listener.address))
        .collect();
    assert_eq!(
        shown,
        [
            "smtp 127.0.0.1:auto",
            "lmtp unix:/etc/hikyaku/run/lmtp",
            "imap 0.0.0.0:143",
            "imap [::]:auto",
            "pop3 127.0.0.1:110",
        ]
    );
    assert_eq!(config.listen.first(Service::Lmtp).expect("there").mode, Some(0o660));
}

#[test]
fn lmtp_over_the_network_needs_lmtp_from() {
    assert_eq!(keys("[listen]\nlmtp = \"192.0.2.1:24\""), ["listen.lmtp"]);
    let guarded = "[listen]\nlmtp = \"192.0.2.1:24\"\nlmtp_from = [\"192.0.2.0/24\"]";
    assert_eq!(keys(guarded), Vec::<String>::new());
}

#[test]
fn what_this_release_lacks_is_told_apart_from_errors() {
    let text = "[tls.acme]\ncontact = \"a@b\"\n[auth.sql]\nurl = \"x\"\n[auth]\n";
    let text = text.replace("[auth]\n", "");
    let (_, findings) = read(&text);
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(|finding| finding.kind == FindingKind::NotYet));
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let (config, _) = read(
        r#"
        [[node]]
        name = "a"
        data = "/var/lib/hikyaku"
        [listen]
        lmtp = { address = "unix:/run/lmtp", mode = "0660" }
        lmtp_from = ["10.0.0.0/8"]
        imap = ["127.0.0.1:143", "[::1]:143"]
        [tls]
        certificate = "/c"
        key = "/k"
        [limits]
        message_size = "10 MiB"
        [stages]
        workers = 3
        "#,
    );
    let (again, findings) = read(&config.to_toml());
    assert_eq!(findings, [], "{}", config.to_toml());
    assert_eq!(again.to_toml(), config.to_toml());
}

#[test]
fn a_syntax_error_names_its_line() {
    let (_, findings) = read("[cluster]\nname = \"x\"\nreplicas = = 3\n");
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].key, "line 3");
}
