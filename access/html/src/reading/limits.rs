//! The limits on a message that is shown, each with its unit, reason and source.

/// What one part may cost before it is cut. What is cut is told in `Sanitised::truncated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of HTML or text that are read; what is behind is not shown. Newsletters stay below 1 MiB, what office programs
    /// write below 2.
    pub input_bytes_max: usize,
    /// Bytes of markup given to the sanitiser. Elements that are closed and opened again make it longer than its source.
    pub output_bytes_max: usize,
    /// Elements, counted as they are opened. A node costs the sanitiser about 200 bytes.
    pub elements_max: u32,
    /// Elements inside each other: a deeper one is left out and its content stays. The tree builder looks through the open
    /// elements at every tag, so its work is size times depth. Browsers stop at 512; forty nested layout tables make 160. The
    /// parts of a table that may stand may stand too: up to three deeper.
    pub depth_max: usize,
    /// Attributes of one element that are looked at: the parser compares each with all before it.
    pub attributes_max: usize,
    /// Bytes of one attribute; a longer one is left out. Links of mailings reach 2,000.
    pub attribute_bytes_max: usize,
    /// Bytes of all style sheets of a message, before they are filtered.
    pub sheet_bytes_max: usize,
    /// Rules of all style sheets: a browser may try each on each element.
    pub rules_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            input_bytes_max: 2 << 20,
            output_bytes_max: 4 << 20,
            elements_max: 100_000,
            depth_max: 200,
            attributes_max: 32,
            attribute_bytes_max: 8 << 10,
            sheet_bytes_max: 128 << 10,
            rules_max: 1_000,
        }
    }
}

/// Parentheses inside each other in a style value.
pub(crate) const STYLE_DEPTH_MAX: u8 = 8;

/// Media rules inside each other.
pub(crate) const MEDIA_DEPTH_MAX: u8 = 3;

/// Bytes of one selector or media query; longer ones lose their rule.
pub(crate) const PRELUDE_BYTES_MAX: usize = 1_000;

/// Levels of quotation that are told apart in text; deeper ones are shown at this one.
pub(crate) const QUOTE_DEPTH_MAX: usize = 16;

/// Lines of a quotation that is shown unfolded.
pub(crate) const QUOTE_LINES_OPEN_MAX: usize = 3;

/// Bytes of a link's text that are searched for the name of a host.
pub(crate) const LINK_TEXT_BYTES_MAX: usize = 2_048;

/// Elements that an end tag inside of others may open again (HTML standard, adoption agency: eight rounds).
pub(crate) const REOPENED_MAX: usize = 8;
