//! Limits of what is computed of a message at arrival. No limit refuses a message: beyond one, less
//! of it is described.

/// What the scanner keeps and describes. Documented defaults; a simulation shrinks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one header that are looked at; the rest still counts as header. Our choice: a
    /// header of 2,000 recipients has about 100 KiB.
    pub header_bytes_max: usize,
    /// Fields of one header that are looked at. Our choice; the longest traces have about 200.
    pub header_fields_max: usize,
    /// Levels of multiparts and nested messages. Our choice; Dovecot has 100, mail in the wild
    /// stays under 10.
    pub depth_max: u8,
    /// Parts described; behind the last, nothing is described. Our choice: also bounded by
    /// `structure_bytes_max`.
    pub parts_max: usize,
    /// Bytes of a boundary. RFC 2046 5.1.1 allows 70; longer ones are seen in the wild.
    pub boundary_bytes_max: usize,
    /// Parameters of one Content-Type or Content-Disposition. Our choice.
    pub params_max: usize,
    /// Bytes of the value of one parameter. Our choice: file names of 255 characters,
    /// percent-encoded UTF-8.
    pub param_bytes_max: usize,
    /// Addresses of one field in ENVELOPE. Our choice; bounded by `envelope_bytes_max` too.
    pub addresses_max: usize,
    /// Bytes of ENVELOPE. The three texts stand in one value of the store: 64 KiB at most (design
    /// section 4).
    pub envelope_bytes_max: usize,
    /// Bytes of the ENVELOPE of a nested message. Our choice, so that several fit in the structure.
    pub nested_envelope_bytes_max: usize,
    /// Bytes of a Subject in ENVELOPE. RFC 5322 2.1.1: a line has 998.
    pub subject_bytes_max: usize,
    /// Bytes of any other single text in ENVELOPE or BODYSTRUCTURE. RFC 5322 2.1.1: a line has 998.
    pub text_bytes_max: usize,
    /// Bytes of BODY. See `envelope_bytes_max`.
    pub body_bytes_max: usize,
    /// Bytes of BODYSTRUCTURE. See `envelope_bytes_max`.
    pub structure_bytes_max: usize,
    /// Bytes of one search column. Our choice: some hundred addresses.
    pub search_bytes_max: usize,
    /// Bytes of all references together. Our choice: the root and the last fifty of a thread.
    pub references_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 128 * 1024,
            header_fields_max: 2_000,
            depth_max: 32,
            parts_max: 1_000,
            boundary_bytes_max: 200,
            params_max: 64,
            param_bytes_max: 2_048,
            addresses_max: 1_000,
            envelope_bytes_max: 12 * 1024,
            nested_envelope_bytes_max: 2 * 1024,
            subject_bytes_max: 2_048,
            text_bytes_max: 998,
            body_bytes_max: 16 * 1024,
            structure_bytes_max: 24 * 1024,
            search_bytes_max: 8 * 1024,
            references_bytes_max: 4 * 1024,
        }
    }
}
