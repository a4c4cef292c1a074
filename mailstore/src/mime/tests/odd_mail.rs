//! BODYSTRUCTURE and ENVELOPE of plain and of odd mail.

use super::{scan, scan_cut_everywhere, structure};

const PLAIN: &str = r#""text" "plain" ("charset" "us-ascii") NIL NIL "7bit""#;
const NO_ENVELOPE: &str = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";

#[test]
fn a_plain_message() {
    let message = b"From: Ann <ann@example.com>\r\nSubject: Hi\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n\
        Message-ID: <1@x>\r\nReferences: <a@x>\r\n <b@x>\r\nIn-Reply-To: <c@x> <b@x>\r\n\r\nOne\r\ntwo\r\n";
    let columns = scan_cut_everywhere(message);
    assert_eq!(
        columns.envelope,
        "(\"Fri, 21 Nov 1997 09:55:06 -0600\" \"Hi\" ((\"Ann\" NIL \"ann\" \"example.com\")) \
         ((\"Ann\" NIL \"ann\" \"example.com\")) ((\"Ann\" NIL \"ann\" \"example.com\")) NIL NIL NIL \
         \"<c@x> <b@x>\" \"<1@x>\")"
    );
    assert_eq!(columns.structure, format!("({PLAIN} 10 2 NIL NIL NIL NIL)"));
    assert_eq!(columns.body, format!("({PLAIN} 10 2)"));
    assert_eq!(columns.header_bytes as usize, message.len() - 10);
    assert_eq!(columns.message_id, "1@x");
    assert_eq!(columns.references, "a@x b@x c@x");
    assert_eq!(columns.search.from, "ann <ann@example.com>");
    assert_eq!(columns.search.subject, "hi");
    assert_eq!(columns.search.sent.map(|sent| sent.civil()), Some((1997, 11, 21, 9, 55, 6)));
}

#[test]
fn messages_that_hardly_are() {
    for (message, header_bytes, expected) in [
        ("", 0, "0 0"),
        ("\r\n", 2, "0 0"),
        ("\n\nx\n", 1, "3 2"),
        ("Subject: only a header", 22, "0 0"),
        ("Subject: only a header\r\n", 24, "0 0"),
        ("Subject: x\r\n\r\n", 14, "0 0"),
        ("Subject: x\n\nbody", 12, "4 0"),
        ("\r", 1, "0 0"),
        ("a: b\r\n\rc: d\r\n\r\nx", 15, "1 0"),
    ] {
        let columns = scan_cut_everywhere(message.as_bytes());
        assert_eq!(columns.header_bytes, header_bytes, "{message:?}");
        assert_eq!(columns.body, format!("({PLAIN} {expected})"), "{message:?}");
    }
}

#[test]
fn a_multipart_with_all_that_extension_data_can_say() {
    let message = "Content-Type: multipart/mixed; boundary=\"b 1\"
Content-Language: en, de
Content-Location: http://x/

preamble
--b 1
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: Quoted-Printable (sic)
Content-ID: <1@x>
Content-Description: the
 text
Content-MD5: abc
Content-Disposition: inline
Content-Language: fr

<p>
x
--b 1
Content-Type: image/png; name=a.png
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename*=utf-8''%C3%A9.png; size=3

AAAA
--b 1--
epilogue
";
    assert_eq!(
        structure(message),
        "((\"text\" \"html\" (\"charset\" \"utf-8\") \"<1@x>\" \"the text\" \"Quoted-Printable\" 6 1 \
         \"abc\" (\"inline\" NIL) (\"fr\") NIL)\
         (\"image\" \"png\" (\"name\" \"a.png\") NIL NIL \"base64\" 4 NIL \
         (\"attachment\" (\"filename*\" \"utf-8''%C3%A9.png\" \"size\" \"3\")) NIL NIL) \
         \"mixed\" (\"boundary\" \"b 1\") NIL (\"en\" \"de\") \"http://x/\")"
    );
}

#[test]
fn a_message_inside_a_message() {
    let message = "Content-Type: multipart/mixed; boundary=o

--o
Content-Type: message/rfc822

Subject: inner
From: a@b
Content-Type: multipart/alternative; boundary=i

--i

one
--i

two
--i--
--o--
";
    assert_eq!(
        structure(message),
        format!(
            "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 107 \
             (NIL \"inner\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) \
             (({PLAIN} 3 0 NIL NIL NIL NIL)({PLAIN} 3 0 NIL NIL NIL NIL) \"alternative\" (\"boundary\" \"i\") NIL NIL NIL) \
             10 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"o\") NIL NIL NIL)"
        )
    );
}

#[test]
fn a_digest_holds_messages_unless_a_part_says_otherwise() {
    let message = "Content-Type: multipart/digest; boundary=d

--d

Subject: one

x
--d
Content-Type: text/plain

y
--d--
";
    assert_eq!(
        structure(message),
        format!(
            "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 17 \
             (NIL \"one\" NIL NIL NIL NIL NIL NIL NIL NIL) ({PLAIN} 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)\
             ({PLAIN} 1 0 NIL NIL NIL NIL) \"digest\" (\"boundary\" \"d\") NIL NIL NIL)"
        )
    );
}

#[test]
fn boundaries_that_begin_alike() {
    let message = "Content-Type: multipart/mixed; boundary=ab

--ab
Content-Type: multipart/mixed; boundary=abc

--abc

one
--abc--
--ab
Content-Type: multipart/mixed; boundary=a

--a

two
--ab

three
--ab--
";
    let inner = |boundary: &str, len| {
        format!(
            "(({PLAIN} {len} 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"{boundary}\") NIL NIL NIL)"
        )
    };
    assert_eq!(
        structure(message),
        format!(
            "({}{}({PLAIN} 5 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"ab\") NIL NIL NIL)",
            inner("abc", 3),
            inner("a", 3)
        )
    );
}

#[test]
fn delimiters_may_have_space_and_other_text_behind_them() {
    let message = "Content-Type: multipart/mixed; boundary=b

--b  \t
Content-Type: text/plain

one
--bother
two
--b--  
--b
epilogue";
    // RFC 2046 5.1.1: it is enough that a line begins with the boundary.
    assert_eq!(
        structure(message),
        format!(
            "(({PLAIN} 3 0 NIL NIL NIL NIL)({PLAIN} 0 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"
        )
    );
}

#[test]
fn multiparts_without_parts() {
    let made_up =
        |params: &str| format!("(({PLAIN} 0 0 NIL NIL NIL NIL) \"mixed\" {params} NIL NIL NIL)");
    let expected = made_up("(\"boundary\" \"b\")");
    let start = "Content-Type: multipart/mixed; boundary=b\n";
    for rest in ["", "\n", "\nno delimiter\n", "\n--b--\n", "\n--b", "\n--b\n", "\n--b\n--b--"] {
        assert_eq!(structure(&format!("{start}{rest}")), expected, "{rest:?}");
    }
    // RFC 2046 5.1.1: no boundary, no multipart.
    assert_eq!(
        structure("Content-Type: multipart/mixed; x=y\n\n--\n"),
        r#"("text" "plain" ("x" "y") NIL NIL "7bit" 4 1 NIL NIL NIL NIL)"#
    );
    assert_eq!(
        structure("Content-Type: multipart; boundary=b\n\n--b\n\nx\n--b--\n"),
        format!("(({PLAIN} 1 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)")
    );
}

#[test]
fn parts_without_an_empty_line_and_truncated_messages() {
    let message = "Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/x
--b
Content-Type: message/rfc822
--b
Content-Type: message/rfc822

Subject: cut";
    let nested = |len, subject: &str| {
        let envelope = match subject {
            "" => NO_ENVELOPE.to_string(),
            _ => format!("(NIL \"{subject}\" NIL NIL NIL NIL NIL NIL NIL NIL)"),
        };
        format!(
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" {len} {envelope} ({PLAIN} 0 0 NIL NIL NIL NIL) 0 NIL NIL NIL NIL)"
        )
    };
    assert_eq!(
        structure(message),
        format!(
            "((\"text\" \"x\" NIL NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL){}{} \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)",
            nested(0, ""),
            nested(12, "cut")
        )
    );
}

#[test]
fn types_that_can_not_be_read_are_plain_text() {
    for (kind, expected) in [
        ("", PLAIN),
        ("text", PLAIN),
        ("foo bar", PLAIN),
        ("text/plain", PLAIN),
        ("text/", PLAIN),
        ("/plain", PLAIN),
        (
            "TEXT / Plain; format=flowed",
            r#""TEXT" "Plain" ("format" "flowed" "charset" "us-ascii") NIL NIL "7bit""#,
        ),
        ("text/html", r#""text" "html" NIL NIL NIL "7bit""#),
    ] {
        let message = format!("Content-Type: {kind}\n\nx");
        assert_eq!(structure(&message), format!("({expected} 1 0 NIL NIL NIL NIL)"), "{kind}");
    }
    assert_eq!(
        structure("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nAAAA\n"),
        r#"("application" "octet-stream" NIL NIL NIL "base64" 6 NIL NIL NIL NIL)"#
    );
}

#[test]
fn eight_bit_headers_are_literals() {
    let columns =
        scan_cut_everywhere("Subject: caf\u{e9}\r\nFrom: \u{c9}va <e@x>\r\n\r\n".as_bytes());
    assert!(
        columns
            .envelope
            .starts_with("(NIL {5}\r\ncaf\u{e9} (({4}\r\n\u{c9}va NIL \"e\" \"x\"))".as_bytes())
    );
    assert_eq!(columns.search.from, "\u{e9}va <e@x>");
    let latin = scan(b"Subject: caf\xE9 =?iso-8859-1?q?=C9?=\r\n\r\n");
    assert_eq!(latin.search.subject, "caf\u{e9} \u{e9}");
}
