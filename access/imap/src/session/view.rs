//! What the client was told of its selected folder.
//!
//! Invariants: `map` is exactly the list a client keeps that obeyed every EXISTS, EXPUNGE and
//! VANISHED; `vanished` lies within it; every change up to `synced` was told, `vanished` excepted.
//!
//! Must not know: how things are told, commands in progress, who the master is.

use fsm::Token;
use mailstore::face::{
    FolderDiff, FolderId, FolderName, FolderOpened, Keyword, ModSeq, OpenMode, Uid, UidMap, UidSet,
    UidValidity,
};
use std::sync::Arc;

/// The selected folder as its client knows it.
#[derive(Debug)]
pub struct View {
    pub folder: FolderId,
    pub name: FolderName,
    pub mode: OpenMode,
    pub uid_validity: UidValidity,
    pub uid_next: Uid,
    pub map: UidMap,
    /// `\Recent` for this session.
    pub recent: UidSet,
    /// Gone, but the client does not know yet: their sequence numbers still count.
    pub vanished: UidSet,
    /// Everything up to here was told, but for `vanished`.
    pub synced: ModSeq,
    /// Every expunge up to here was told.
    pub expunges_told: ModSeq,
    /// `$`: what the last SEARCH RETURN (SAVE) found (RFC 5182).
    pub saved: UidSet,
    /// The keyword table as told in FLAGS.
    pub keywords: Arc<[Keyword]>,
    pub news: News,
    /// A `Sync` whose only purpose is to tell the master `expunges_told`.
    pub acknowledging: Option<Token>,
}

/// Whether there is something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    None,
    /// The master announced changes, or this session made some.
    Due,
    /// The master forgot this session: the folder must be opened again.
    MasterLost,
}

/// What a diff has to say to the client, in the order in which it is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Telling {
    /// The keyword table grew: FLAGS comes first.
    pub keywords_grew: bool,
    pub expunges: Expunges,
    /// Messages arrived: EXISTS and RECENT.
    pub arrived: bool,
}

/// Removed messages, in both forms in which they are told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expunges {
    pub uids: UidSet,
    /// For EXPUNGE: each number is valid when its predecessors have been obeyed.
    pub seqs: Vec<u32>,
}

/// May messages disappear in this answer?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpungeRule {
    Allowed,
    /// RFC 9051 7.5.1: not during FETCH, STORE, SEARCH, where sequence numbers are under way.
    Withheld,
}

impl View {
    /// The view of a folder just opened.
    pub fn new(name: FolderName, mode: OpenMode, opened: &FolderOpened) -> Self {
        Self {
            folder: opened.folder,
            name,
            mode,
            uid_validity: opened.uid_validity,
            uid_next: opened.uid_next,
            map: UidMap::new(&opened.uids),
            recent: opened.recent.clone(),
            vanished: UidSet::new(),
            saved: UidSet::new(),
            synced: opened.highest_mod_seq,
            expunges_told: opened.highest_mod_seq,
            keywords: Arc::clone(&opened.keywords),
            news: News::None,
            acknowledging: None,
        }
    }

    /// The master says that the folder changed, up to `mod_seq`.
    pub fn on_changed(&mut self, mod_seq: ModSeq) {
        if mod_seq > self.synced && self.news == News::None {
            self.news = News::Due;
        }
    }

    /// Takes in a diff, but for its flags; returns what the client must hear before those.
    pub fn absorb(&mut self, diff: &FolderDiff, rule: ExpungeRule) -> Telling {
        let keywords_grew = self.learn_keywords(&diff.keywords);
        if !diff.vanished.is_empty() {
            let gone = self.map.uids().intersection(&diff.vanished);
            self.vanished = self.vanished.union(&gone);
        }
        self.synced = self.synced.max(diff.mod_seq);
        self.uid_next = self.uid_next.max(diff.uid_next);
        let expunges = match rule {
            ExpungeRule::Allowed => self.release_expunges(),
            ExpungeRule::Withheld => {
                if self.vanished.is_empty() {
                    self.expunges_told = self.synced;
                }
                Expunges::default()
            }
        };
        // RFC 9051 2.3.1.1: UIDs only rise; an older one would shift numbers that the client holds.
        let last = self.map.last_uid().map_or(0, |uid| uid.0);
        let arrived = match last.checked_add(1) {
            Some(first) => diff.arrived.intersection(&UidSet::from_range(first..=u32::MAX)),
            None => UidSet::new(),
        };
        if !arrived.is_empty() {
            self.map.extend(&arrived);
            self.recent = self.recent.union(&diff.recent.intersection(&arrived));
        }
        self.news = News::None;
        Telling { keywords_grew, expunges, arrived: !arrived.is_empty() }
    }

    /// The client may hear of all expunges now.
    pub fn release_expunges(&mut self) -> Expunges {
        self.expunges_told = self.synced;
        if self.vanished.is_empty() {
            return Expunges::default();
        }
        let uids = std::mem::take(&mut self.vanished);
        let seqs = self.map.remove(&uids);
        self.recent = self.recent.difference(&uids);
        self.saved = self.saved.difference(&uids);
        Expunges { uids, seqs }
    }

    /// True when the table grew.
    pub fn learn_keywords(&mut self, keywords: &Arc<[Keyword]>) -> bool {
        let grew = keywords.len() > self.keywords.len();
        if grew {
            self.keywords = Arc::clone(keywords);
        }
        grew
    }

    /// The bits of [`mailstore::face::Flags::keywords`] that the client knows names for.
    pub fn keyword_mask(&self) -> u128 {
        match u32::try_from(self.keywords.len()) {
            Ok(count) if count < u128::BITS => (1_u128 << count) - 1,
            Ok(_) | Err(_) => u128::MAX,
        }
    }

    /// What a folder that was opened again differs in from what the client was told.
    pub fn diff_to(&self, opened: &FolderOpened) -> FolderDiff {
        let known = self.map.uids();
        let (changed, keywords) = match &opened.resync {
            Some(resync) => (Arc::clone(&resync.changed), Arc::clone(&opened.keywords)),
            None => (Arc::from([]), Arc::clone(&opened.keywords)),
        };
        FolderDiff {
            mod_seq: opened.highest_mod_seq,
            uid_next: opened.uid_next,
            vanished: known.difference(&opened.uids),
            arrived: opened.uids.difference(&known),
            recent: opened.recent.clone(),
            changed,
            keywords,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(uids: UidSet) -> FolderOpened {
        FolderOpened {
            folder: FolderId(1),
            uid_validity: UidValidity(7),
            uid_next: Uid(10),
            highest_mod_seq: ModSeq(100),
            uids: Arc::new(uids),
            recent: UidSet::new(),
            unseen: 0,
            first_unseen: None,
            keywords: Arc::from([]),
            resync: None,
        }
    }

    fn diff(mod_seq: u64, vanished: UidSet, arrived: UidSet) -> FolderDiff {
        FolderDiff {
            mod_seq: ModSeq(mod_seq),
            uid_next: Uid(20),
            vanished,
            recent: arrived.clone(),
            arrived,
            changed: Arc::from([]),
            keywords: Arc::from([]),
        }
    }

    #[test]
    fn withheld_expunges_keep_their_numbers_until_released() {
        let opened = opened(UidSet::from_range(1..=5));
        let mut view = View::new(FolderName::inbox(), OpenMode::ReadWrite, &opened);
        let gone = UidSet::from_ranges(vec![(2, 2), (4, 4), (90, 99)]);
        let told =
            view.absorb(&diff(101, gone, UidSet::from_range(11..=11)), ExpungeRule::Withheld);
        assert_eq!(told.expunges, Expunges::default());
        assert!(told.arrived);
        assert_eq!((view.map.len(), view.map.seq(Uid(5))), (6, Some(5)));
        assert_eq!(view.expunges_told, ModSeq(100));
        assert_eq!(view.recent.to_string(), "11");
        let released = view.release_expunges();
        assert_eq!((released.uids.to_string().as_str(), released.seqs), ("2,4", vec![4, 2]));
        assert_eq!((view.map.len(), view.expunges_told), (4, ModSeq(101)));
    }

    #[test]
    fn a_diff_never_slips_an_older_uid_below_known_ones() {
        let opened = opened(UidSet::from_range(5..=6));
        let mut view = View::new(FolderName::inbox(), OpenMode::ReadWrite, &opened);
        let both = UidSet::from_ranges(vec![(3, 3), (6, 7)]);
        view.absorb(&diff(101, UidSet::new(), both), ExpungeRule::Allowed);
        assert_eq!(view.map.uids().to_string(), "5:7");
    }
}
