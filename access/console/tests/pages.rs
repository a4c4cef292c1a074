//! Every page with the status of one, three and nine nodes.

mod sample;

use sample::Sample;

/// What browsers would stumble over: a tag that is not closed, an id that is there twice.
fn check(name: &str, page: &str) {
    for tag in ["table", "tr", "td", "section", "form", "main", "nav", "ul", "dl", "svg", "select"]
    {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{name}: {tag}");
    }
    let mut ids: Vec<&str> =
        page.split(" id=\"").skip(1).filter_map(|it| it.split('"').next()).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "{name}: an id is there twice: {ids:?}");
    for (at, _) in page.match_indices("<table") {
        let rest = &page[at..];
        assert!(rest.find("<caption>") < rest.find("<thead>"), "{name}: a table without a caption");
    }
    assert!(!page.contains("<th>"), "{name}: a header of nothing");
    assert!(!page.contains("style=\""), "{name}: the policy forbids it");
    assert!(!page.contains("onclick="), "{name}: the policy forbids it");
    assert_eq!(page.matches("<h1>").count(), 1, "{name}");
}

#[test]
fn pages_are_whole_for_one_three_and_nine_nodes() {
    for nodes in [1, 3, 9] {
        let sample = Sample::of(nodes);
        for (name, page) in sample.pages() {
            check(&format!("{name} of {nodes}"), &page);
        }
    }
}

#[test]
fn one_node_is_no_cluster() {
    let sample = Sample::of(1);
    let pages = sample.pages();
    let page = |name: &str| pages.iter().find(|(it, _)| it == name).expect("it is there").1.clone();
    assert!(!page("overview").contains("Nodes up"));
    assert!(page("overview").contains("Node node1 serves 256 partitions"));
    assert!(page("nodes").contains("One node serves everything"));
    assert!(!page("node").contains("Drain"));
    assert!(!page("partitions").contains("Moves under way"));
    assert!(!page("account").contains("Move the mailbox"));
}

#[test]
fn several_nodes_are_all_there() {
    let sample = Sample::of(9);
    let pages = sample.pages();
    for (name, page) in pages.iter().filter(|(name, _)| name == "overview" || name == "nodes") {
        for node in 1..=9 {
            assert!(page.contains(&format!("href=\"/nodes/node{node}\"")), "{name}: node{node}");
        }
    }
    let nodes = &pages.iter().find(|(name, _)| name == "nodes").expect("it is there").1;
    assert!(nodes.contains("8 of 9 up") && nodes.contains("<th scope=\"col\">Zone</th>"));
    assert!(pages.iter().any(|(name, page)| name == "node" && page.contains("Drain…")));
}

#[test]
fn what_comes_from_outside_is_shown_and_never_run() {
    let mut sample = Sample::of(3);
    let evil = "<script>alert(1)</script>\"'>";
    sample.spoil(evil);
    for (name, page) in sample.pages() {
        assert!(!page.contains("<script>alert"), "{name}");
        check(&name, &page);
    }
}
