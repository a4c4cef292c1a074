//! Address books of other programs: vCard (RFC 6350, and 3.0 of RFC 2426) and CSV (RFC 4180), in and out. A contact is a name and a mail
//! address; whatever else a card says is left out.

use crate::envelope::Address;

/// Bytes of a file that is read. Our choice: ten thousand cards with small pictures.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Contacts of a file. Our choice.
pub const CONTACTS_MAX: usize = 10_000;

/// Contacts of a file of either kind, by what stands in it; those without an address are left out.
///
/// # Errors
/// What a person has to know.
pub fn read(file: &[u8]) -> Result<Vec<Address>, String> {
    let text = String::from_utf8_lossy(file);
    let text = text.trim_start_matches('\u{FEFF}');
    let head = text.trim_start().get(..11).unwrap_or_default();
    let found = if head.eq_ignore_ascii_case("BEGIN:VCARD") { cards(text) } else { table(text)? };
    let found: Vec<Address> = found.into_iter().filter_map(checked).take(CONTACTS_MAX).collect();
    if found.is_empty() {
        return Err("There is no mail address in the file: export it as vCard or CSV.".into());
    }
    Ok(found)
}

fn checked(contact: Address) -> Option<Address> {
    let mailbox = contact.mailbox.trim().to_lowercase();
    let one = crate::compose::addresses(&mailbox).ok().filter(|found| found.len() == 1)?;
    let name = contact.name.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    Some(Address { name: name.trim().to_owned(), mailbox: one.into_iter().next()?.mailbox })
}

/// RFC 6350 3.2: a line that begins with a space goes on with the one before.
fn unfolded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(more), Some(last)) => last.push_str(more),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn cards(text: &str) -> Vec<Address> {
    let mut found = Vec::new();
    let (mut name, mut parts, mut mailboxes) = (String::new(), String::new(), Vec::new());
    for line in unfolded(text) {
        let Some((head, value)) = line.split_once(':') else { continue };
        // RFC 6350 3.3: a group stands before the name, parameters behind it.
        let property = head.split(';').next().unwrap_or_default();
        let property = property.rsplit('.').next().unwrap_or_default().to_ascii_uppercase();
        match property.as_str() {
            "BEGIN" => (name, parts, mailboxes) = (String::new(), String::new(), Vec::new()),
            "FN" => name = unescaped(value),
            // RFC 6350 6.2.2: family name first.
            "N" => {
                let pieces: Vec<String> = split_escaped(value);
                let piece = |at: usize| pieces.get(at).cloned().unwrap_or_default();
                parts = format!("{} {}", piece(1), piece(0)).trim().to_owned();
            }
            "EMAIL" => mailboxes.push(unescaped(value.strip_prefix("mailto:").unwrap_or(value))),
            "END" => {
                let shown = if name.is_empty() { &parts } else { &name };
                let of = |mailbox| Address { name: shown.clone(), mailbox };
                found.extend(mailboxes.drain(..).map(of));
            }
            _ => {}
        }
    }
    found
}

/// RFC 6350 3.4.
fn unescaped(value: &str) -> String {
    let (mut out, mut escaped) = (String::new(), false);
    for c in value.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (true, 'n' | 'N') => (out, escaped) = (out + " ", false),
            (_, c) => {
                out.push(c);
                escaped = false;
            }
        }
    }
    out
}

fn split_escaped(value: &str) -> Vec<String> {
    let mut escaped = false;
    let split = move |c: char| {
        let was = std::mem::take(&mut escaped);
        escaped = c == '\\' && !was;
        c == ';' && !was
    };
    value.split(split).map(unescaped).collect()
}

fn table(text: &str) -> Result<Vec<Address>, String> {
    let mut rows = rows(text).into_iter();
    let header = rows.next().unwrap_or_default();
    let header: Vec<String> = header.iter().map(|field| field.trim().to_lowercase()).collect();
    let any = |names: &[&str]| header.iter().position(|field| names.contains(&field.as_str()));
    let mailbox = any(&[
        "e-mail address",
        "e-mail 1 - value",
        "email address",
        "primary email",
        "email",
        "e-mail",
        "mail",
        "address",
    ]);
    let Some(mailbox) = mailbox else {
        return Err(
            "The file is neither vCard nor a table with a column for mail addresses, such as “Email”.".into()
        );
    };
    let name = any(&["display name", "full name", "name"]);
    let parts = [any(&["first name", "given name"]), any(&["last name", "family name"])];
    let of = |row: Vec<String>| {
        let field = |at: Option<usize>| at.and_then(|at| row.get(at)).cloned().unwrap_or_default();
        let shown = Some(field(name)).filter(|name| !name.trim().is_empty());
        let shown = shown.unwrap_or_else(|| parts.map(field).join(" ").trim().to_owned());
        Address { name: shown, mailbox: field(Some(mailbox)) }
    };
    Ok(rows.map(of).collect())
}

/// RFC 4180 2, and lines that end with LF alone; a tab or a semicolon separates where the first line has no comma.
fn rows(text: &str) -> Vec<Vec<String>> {
    let first = text.lines().next().unwrap_or_default();
    let mark = [',', ';', '\t'].into_iter().find(|mark| first.contains(*mark)).unwrap_or(',');
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c if c == mark && !quoted => row.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    row.push(field);
    rows.push(row);
    rows.retain(|row| row.iter().any(|field| !field.trim().is_empty()));
    rows
}

/// As vCard 4.0 (RFC 6350), which programs that know 3.0 read too.
#[must_use]
pub fn vcards(contacts: &[Address]) -> String {
    let escaped = |text: &str| {
        let text = text.replace('\\', "\\\\").replace(',', "\\,");
        text.replace(';', "\\;").replace(['\r', '\n'], " ")
    };
    let mut out = String::new();
    for it in contacts {
        let lines = [
            "BEGIN:VCARD".to_owned(),
            "VERSION:4.0".to_owned(),
            format!("FN:{}", escaped(it.shown())),
            format!("EMAIL:{}", escaped(&it.mailbox)),
            "END:VCARD".to_owned(),
        ];
        for line in lines {
            fold_into(&line, &mut out);
        }
    }
    out
}

/// RFC 6350 3.2: at most 75 octets a line.
fn fold_into(line: &str, out: &mut String) {
    let mut used = 0;
    for c in line.chars() {
        if used + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            used = 1;
        }
        out.push(c);
        used += c.len_utf8();
    }
    out.push_str("\r\n");
}

/// As a table with a header. What a spreadsheet would take for a formula is kept from being one.
#[must_use]
pub fn csv(contacts: &[Address]) -> String {
    let field = |text: &str| {
        let guard = if text.starts_with(['=', '+', '-', '@', '\t']) { "'" } else { "" };
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    };
    let line = |it: &Address| format!("{},{}\r\n", field(&it.name), field(&it.mailbox));
    format!("Name,Email\r\n{}", contacts.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(name: &str, mailbox: &str) -> Address {
        Address { name: name.into(), mailbox: mailbox.into() }
    }

    #[test]
    fn cards_of_both_versions() {
        let text = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Lee;Ann;;;\r\nFN:Ann\\, Lee\r\nitem1.EMAIL;TYPE=INTERNET,pref:Ann@X.ex\r\n \
                    ample\r\nEMAIL:ann@y.example\r\nPHOTO;ENCODING=b:AAAA\r\n BBBB\r\nEND:VCARD\r\nBEGIN:VCARD\nVERSION:4.0\n\
                    N:Ōe;Kenzaburō;;;\nFN:\nEMAIL:mailto:oe@x.example\nEND:VCARD\nBEGIN:VCARD\nFN:Nobody\nEND:VCARD\n";
        let expected = [
            of("Ann, Lee", "ann@x.example"),
            of("Ann, Lee", "ann@y.example"),
            of("Kenzaburō Ōe", "oe@x.example"),
        ];
        assert_eq!(read(text.as_bytes()).expect("contacts"), expected);
    }

    #[test]
    fn tables_of_several_programs() {
        for text in [
            "Name,Email\r\n\"Lee, \"\"Ann\"\"\",ann@x.example\r\n,bob@x.example\r\n",
            "\u{FEFF}First Name;Last Name;E-mail Address\nLee,;\"\"\"Ann\"\"\";ann@x.example\n;;bob@x.example",
            "Given Name\tFamily Name\tE-mail 1 - Value\n\"Lee,\"\t\"\"\"Ann\"\"\"\tann@x.example\n\t\tBOB@x.example\n\t\tno address",
        ] {
            let expected = [of("Lee, \"Ann\"", "ann@x.example"), of("", "bob@x.example")];
            assert_eq!(read(text.as_bytes()).expect("contacts"), expected, "{text}");
        }
        assert!(read(b"a,b\n1,2\n").is_err());
        assert!(read(b"").is_err());
        assert!(read(b"Email\nnothing\n").is_err());
    }

    #[test]
    fn formulas_stay_text() {
        assert_eq!(csv(&[of("=1+1", "a@x")]), "Name,Email\r\n\"'=1+1\",\"a@x\"\r\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(names in prop::collection::vec("[a-zA-Zé中\"',;\\\\:. ]{0,90}", 1..5)) {
            let contacts: Vec<Address> = names
                .iter()
                .enumerate()
                .map(|(n, name)| of(name.trim(), &format!("u{n}@x.example")))
                .collect();
            let of_table = read(csv(&contacts).as_bytes()).expect("contacts");
            prop_assert_eq!(&of_table, &contacts);
            let named: Vec<Address> =
                contacts.iter().map(|it| of(it.shown(), &it.mailbox)).collect();
            prop_assert_eq!(read(vcards(&contacts).as_bytes()).expect("contacts"), named);
        }

        #[test]
        fn any_file_is_read_or_refused(file in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&file);
            let _ = read(&[b"BEGIN:VCARD\n", &file[..]].concat());
            let _ = read(&[b"Email,Name\n", &file[..]].concat());
        }
    }
}
