//! Where else a search found something.

/// Folders that have what was searched for, beside the one that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Also {
    pub folders: Vec<AlsoLine>,
    /// Some were not looked into.
    pub partial: bool,
    /// Names of those that are left out unless they are asked for; empty: none are.
    pub left_out: String,
    /// The search that asks for them.
    pub left_out_href: String,
}

/// A folder, and how many of its messages were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlsoLine {
    pub name: String,
    pub href: String,
    pub count: usize,
    /// It is the one that is shown.
    pub here: bool,
}

impl Also {
    /// Folders that are in sight; the others are behind “more”. Our choice: three lines of a phone.
    pub(super) const IN_SIGHT: usize = 8;

    pub(super) fn is_empty(&self) -> bool {
        self.folders.is_empty() && !self.partial && self.left_out.is_empty()
    }

    pub(super) fn has_here(&self) -> bool {
        self.folders.iter().any(|it| it.here)
    }

    pub(super) fn more(&self) -> usize {
        self.folders.len().saturating_sub(Self::IN_SIGHT)
    }
}

impl AlsoLine {
    pub(super) fn count_shown(&self) -> String {
        super::grouped(self.count)
    }
}
