//! Mail made to cost: time stays linear, memory and results stay bounded.

use super::grammar::{Form, read_body, read_envelope};
use super::scan;
use crate::mime::{Limits, PartTable, Scanner};

#[test]
fn floods_of_structure() {
    let nested: String = (0..20_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    let start = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let cases = [
        nested,
        messages,
        format!("{start}{}", "--b\r\n\r\n".repeat(200_000)),
        format!("{start}{}", "--b\r\n".repeat(200_000)),
        format!("{start}{}", "--c\r\n".repeat(200_000)),
        format!("{start}{}", "--b\r\nContent-Type: message/rfc822\r\n\r\n".repeat(20_000)),
        format!("{start}{}", "-".repeat(1_000_000)),
        format!("{start}{}", "\n-".repeat(500_000)),
        format!("To: {}", "a@b,".repeat(200_000)),
        format!("Content-Type: a/b{}", ";a*0=b".repeat(100_000)),
        format!("Subject: {}", "=?a?b?".repeat(100_000)),
        format!("References: {}", "<".repeat(500_000)),
        format!("References: {}", "<a>".repeat(100_000)),
        "a:b\r\n".repeat(100_000),
        "x".repeat(1_000_000),
    ];
    let limits = Limits::default();
    for message in cases {
        let columns = scan(message.as_bytes());
        let start = &message[..message.len().min(60)];
        read_envelope(&columns.envelope).expect(start);
        read_body(&columns.structure, Form::BodyStructure).expect(start);
        read_body(&columns.body, Form::Body).expect(start);
        assert!(columns.structure.len() <= limits.structure_bytes_max, "{start}");
        assert!(columns.body.len() <= limits.body_bytes_max, "{start}");
        assert!(columns.parts.len() < 32 * 1024, "{start}");
        assert!(PartTable::decode(&columns.parts).is_ok(), "{start}");
    }
}

#[test]
fn long_headers_keep_their_true_size() {
    let header = format!("{}Subject: late\r\n\r\n", "X: y\r\n".repeat(100_000));
    let columns = scan(format!("{header}body").as_bytes());
    assert_eq!(columns.header_bytes as usize, header.len());
    assert_eq!(columns.search.subject, "");
}

#[test]
fn limits_cut_and_the_rest_stays_readable() {
    let limits = Limits { parts_max: 3, depth_max: 1, ..Limits::default() };
    let mut scanner = Scanner::new(&limits);
    scanner.push(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nx\r\n--b\r\n\r\n2\r\n\
          --b\r\n\r\n3\r\n--b--\r\n",
    );
    assert_eq!(
        scanner.finish().body,
        "((\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" 1)\
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) \"mixed\")"
    );
}

#[test]
fn long_digests_list_more_and_say_less() {
    let one = "--d\r\n\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\nFrom: Ann Example <ann@example.com>\r\n\
        To: list@example.org\r\nSubject: About something or other\r\nMessage-ID: <1@x>\r\n\r\ntext\r\n";
    let digest =
        format!("Content-Type: multipart/digest; boundary=d\r\n\r\n{}--d--\r\n", one.repeat(500));
    let columns = scan(digest.as_bytes());
    read_body(&columns.structure, Form::BodyStructure).expect("a body");
    let parts = PartTable::decode(&columns.parts).expect("just written");
    // The multipart itself, 62 messages with the text inside, and one part of which no more is said.
    assert_eq!(parts.parts().len(), 1 + 2 * 62 + 1);
}
