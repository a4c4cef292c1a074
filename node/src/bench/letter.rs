//! Messages to send: valid, of an exact size, all different.

/// Words that make text: searches have something to find, compression something to do.
const WORDS: [&str; 32] = [
    "the", "cluster", "mail", "server", "stores", "every", "message", "on", "two", "nodes",
    "before", "it", "answers", "and", "reader", "finds", "report", "budget", "meeting", "monday",
    "invoice", "project", "please", "attached", "regards", "question", "network", "disk",
    "latency", "result", "table", "figure",
];
const LINE_MAX: usize = 70;

/// Makes messages; equal seeds make equal ones.
#[derive(Clone, Debug)]
pub struct Letters {
    state: u64,
    made: u64,
    seed: u64,
    size: usize,
}

impl Letters {
    #[must_use]
    pub fn new(seed: u64, size: usize) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, made: 0, seed, size }
    }

    /// A random number below `end`. xorshift64: quality enough for words.
    pub fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % end.max(1) as u64) as usize
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }

    /// The next message, lines ended by CRLF, no line beginning with a dot.
    pub fn next_to(&mut self, to: &str) -> Vec<u8> {
        self.made += 1;
        let (made, seed) = (self.made, self.seed);
        let mut text = format!(
            "From: Sender {} <s{}@src.test>\r\nTo: <{to}>\r\nSubject: {} {} k{made:08}\r\n\
             Date: Mon, 2 Mar 2026 08:00:00 +0000\r\nMessage-ID: <{seed}.{made}@src.test>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
            made % 97,
            made % 97,
            self.word(),
            self.word(),
        );
        let mut column = 0;
        while text.len() + 2 < self.size {
            let word = self.word();
            if column + word.len() > LINE_MAX && text.len() + 4 < self.size {
                text.push_str("\r\n");
                column = 0;
            }
            let room = self.size - 2 - text.len();
            let taken = &word[..word.len().min(room)];
            text.push_str(taken);
            column += taken.len();
            if text.len() + 2 < self.size {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_size_and_differ() {
        let mut letters = Letters::new(3, 4700);
        let (first, second) = (letters.next_to("a@x"), letters.next_to("a@x"));
        assert_eq!((first.len(), second.len()), (4700, 4700));
        assert_ne!(first, second);
        assert_eq!(Letters::new(3, 4700).next_to("a@x"), first);
        let text = String::from_utf8(first).expect("ASCII");
        assert!(text.split("\r\n").all(|line| line.len() < 80 && !line.starts_with('.')));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }
}
